//! The Query protocol: `Action=Publish&TopicArn=...` as a form in, XML out.
//!
//! SNS and STS speak only this on the wire. Here it is a thin coat over the same JSON bodies the States Language
//! integrations use: numbered members (`Tags.member.1.Key`) become arrays, numbered entries
//! (`Attributes.entry.1.key`) become objects, and a JSON answer is written back as XML.
//! Every value of a form is text; services that want a number or a boolean from one must take it as text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::registry::Services;
use crate::service::AwsError;

/// API versions name the service when a request carries nothing else
/// (<https://docs.aws.amazon.com/sns/latest/api/CommonParameters.html>).
const SERVICES_BY_VERSION: [(&str, &str); 2] = [("2010-03-31", "sns"), ("2011-06-15", "sts")];

/// How deep dotted names may nest; nothing the services here accept needs more than six.
const MAX_NAME_PARTS: usize = 12;

/// Members of answers that are maps, which XML writes as entries.
const MAPS: [&str; 1] = ["Attributes"];

/// Performs the form's action and returns the XML document.
///
/// # Errors
/// The service's, or one that says what is wrong with the form.
pub(crate) async fn perform(services: &Services, body: &[u8], request_id: &str) -> Result<String, AwsError> {
    let mut fields = form_fields(body)?;
    let action = fields.remove("Action").ok_or_else(|| {
        AwsError::client("MissingAction", "The request is missing an action or a required parameter")
    })?;
    let version = fields.remove("Version").unwrap_or_default();
    let service = SERVICES_BY_VERSION
        .iter()
        .find(|(known, _)| *known == version)
        .and_then(|(_, name)| services.by_sdk_name(name))
        .ok_or_else(|| {
            AwsError::client(
                "InvalidAction",
                format!("The embedded default has no Query service with version {version:?}"),
            )
        })?;
    let reply = service.call(&action, Value::Object(to_object(&fields)?)).await.map_err(|mut error| {
        if error.code == "UnknownOperationException" {
            error.code = "InvalidAction".into();
        }
        error
    })?;
    let mut xml = format!("<{action}Response><{action}Result>");
    write_members(&mut xml, &reply);
    let _ = write!(
        xml,
        "</{action}Result><ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{action}Response>"
    );
    Ok(xml)
}

/// An error as the Query protocol writes it.
pub(crate) fn error_document(error: &AwsError, request_id: &str) -> String {
    let kind = if error.status < 500 { "Sender" } else { "Receiver" };
    format!(
        "<ErrorResponse><Error><Type>{kind}</Type><Code>{}</Code><Message>{}</Message></Error>\
         <RequestId>{request_id}</RequestId></ErrorResponse>",
        escape(&error.code),
        escape(&error.message)
    )
}

fn form_fields(body: &[u8]) -> Result<BTreeMap<String, String>, AwsError> {
    let mut fields = BTreeMap::new();
    for pair in body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        let mut halves = pair.splitn(2, |byte| *byte == b'=');
        let name = decode(halves.next().unwrap_or_default())?;
        let value = decode(halves.next().unwrap_or_default())?;
        fields.insert(name, value);
    }
    Ok(fields)
}

fn decode(text: &[u8]) -> Result<String, AwsError> {
    let malformed = || AwsError::client("MalformedQueryString", "The form contains a syntax error");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|d| (*d as char).to_digit(16)).ok_or_else(malformed);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).map_err(|_| malformed())?
            }
            other => *other,
        });
    }
    String::from_utf8(bytes).map_err(|_| malformed())
}

/// A form's dotted names as a tree.
#[derive(Default)]
struct Node {
    text: Option<String>,
    parts: BTreeMap<String, Node>,
}

fn to_object(fields: &BTreeMap<String, String>) -> Result<Map<String, Value>, AwsError> {
    let mut root = Node::default();
    for (name, value) in fields {
        if name.split('.').count() > MAX_NAME_PARTS {
            return Err(AwsError::client("MalformedQueryString", "A parameter's name nests too deeply"));
        }
        let mut node = &mut root;
        for part in name.split('.') {
            node = node.parts.entry(part.to_owned()).or_default();
        }
        node.text = Some(value.clone());
    }
    Ok(root.parts.into_iter().map(|(name, node)| (name, node.into_value())).collect())
}

impl Node {
    fn into_value(mut self) -> Value {
        if self.parts.len() == 1 {
            if let Some(members) = self.parts.remove("member") {
                return Value::Array(members.in_order().into_iter().map(Node::into_value).collect());
            }
            if let Some(entries) = self.parts.remove("entry") {
                return Value::Object(entries.in_order().into_iter().filter_map(Node::into_entry).collect());
            }
        }
        match self.text {
            Some(text) if self.parts.is_empty() => Value::String(text),
            _ => {
                Value::Object(self.parts.into_iter().map(|(name, node)| (name, node.into_value())).collect())
            }
        }
    }

    fn in_order(self) -> Vec<Node> {
        let mut numbered: Vec<(usize, Node)> =
            self.parts.into_iter().filter_map(|(number, node)| Some((number.parse().ok()?, node))).collect();
        numbered.sort_by_key(|(number, _)| *number);
        numbered.into_iter().map(|(_, node)| node).collect()
    }

    fn into_entry(mut self) -> Option<(String, Value)> {
        let key = self.parts.remove("key").or_else(|| self.parts.remove("Name"))?.text?;
        let value = self.parts.remove("value").or_else(|| self.parts.remove("Value"))?;
        Some((key, value.into_value()))
    }
}

fn write_members(xml: &mut String, value: &Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let _ = write!(xml, "<{name}>");
                match member {
                    Value::Object(entries) if MAPS.contains(&name.as_str()) => {
                        for (key, value) in entries {
                            let _ = write!(xml, "<entry><key>{}</key><value>", escape(key));
                            write_members(xml, value);
                            xml.push_str("</value></entry>");
                        }
                    }
                    other => write_members(xml, other),
                }
                let _ = write!(xml, "</{name}>");
            }
        }
        Value::Array(items) => {
            for item in items {
                xml.push_str("<member>");
                write_members(xml, item);
                xml.push_str("</member>");
            }
        }
        Value::String(text) => xml.push_str(&escape(text)),
        Value::Null => {}
        other => xml.push_str(&other.to_string()),
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\r' => escaped.push_str("&#13;"),
            // XML 1.0 has no way to write the other control characters.
            c if (c as u32) < 0x20 && c != '\t' && c != '\n' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn dotted_names_become_arrays_and_objects() {
        let fields = form_fields(
            b"Name=a+b&Tags.member.2.Key=two&Tags.member.1.Key=one&Attributes.entry.1.key=k&Attributes.entry.1.value=%C3%BC",
        )
        .unwrap();
        assert_eq!(
            Value::Object(to_object(&fields).unwrap()),
            json!({"Attributes": {"k": "ü"}, "Name": "a b", "Tags": [{"Key": "one"}, {"Key": "two"}]})
        );
    }

    #[test]
    fn a_broken_escape_is_refused() {
        assert_eq!(form_fields(b"a=%2").unwrap_err().code, "MalformedQueryString");
        assert_eq!(form_fields(b"a=%zz").unwrap_err().code, "MalformedQueryString");
    }

    #[test]
    fn answers_are_escaped() {
        let mut xml = String::new();
        write_members(&mut xml, &json!({"A": "<&\u{1}>", "B": [1, true]}));
        assert_eq!(xml, "<A>&lt;&amp;\u{fffd}&gt;</A><B><member>1</member><member>true</member></B>");
    }
}
