//! The functions Step Functions adds to JSONata
//! (<https://docs.aws.amazon.com/step-functions/latest/dg/transforming-data.html#jsonata-functions-provided-by-sfn>),
//! and the ones it must own: time and chance come from the scope, so that evaluating a template a second time (for
//! the history, or after a crash) gives the same values.

use std::cell::Cell;
use std::fmt::Write as _;
use std::rc::Rc;

use jsonata_core::evaluator::{Evaluator, EvaluatorError};
use jsonata_core::value::JValue;
use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::asl::limits;
use crate::asl::scope::Scope;
use crate::clock::rfc3339 as iso;

type Answer = Result<JValue, EvaluatorError>;

fn refuse(why: impl Into<String>) -> EvaluatorError {
    EvaluatorError::EvaluationError(why.into())
}

pub(super) fn register(evaluator: &mut Evaluator, scope: &Scope<'_>) -> Result<(), EvaluatorError> {
    let now = scope.now_ms;
    let chance = Rc::new(Chance(Cell::new(scope.seed)));
    evaluator.register_fn("partition", partition)?;
    evaluator.register_fn("range", range)?;
    evaluator.register_fn("hash", hash)?;
    evaluator.register_fn("parse", parse)?;
    let source = Rc::clone(&chance);
    evaluator.register_fn("uuid", move |_: &[JValue]| Ok(JValue::from(source.uuid())))?;
    evaluator.register_fn_override("random", move |args: &[JValue]| match args.first() {
        None | Some(JValue::Undefined) => Ok(JValue::from(chance.unit())),
        Some(JValue::Number(seed)) => Ok(JValue::from(Chance(Cell::new(seed.to_bits())).unit())),
        Some(_) => Err(refuse("The argument of $random must be a number.")),
    })?;
    evaluator.register_fn_override("millis", move |_: &[JValue]| Ok(JValue::from(now)))?;
    // With a picture or a zone, `$now` is the library's own, through `$fromMillis`.
    evaluator.register_fn_override("now", move |args: &[JValue]| {
        if args.iter().any(|argument| !argument.is_undefined()) {
            return picture(now, args);
        }
        Ok(JValue::from(iso(now)))
    })?;
    evaluator.register_fn_override("eval", |_: &[JValue]| {
        Err(refuse("The function $eval is not available; use $parse for JSON text."))
    })
}

fn picture(now: i64, args: &[JValue]) -> Answer {
    let ast = jsonata_core::parser::parse("$fromMillis($at, $picture, $zone)")
        .map_err(|error| refuse(error.to_string()))?;
    let mut context = jsonata_core::evaluator::Context::new();
    context.bind("at".into(), JValue::from(now));
    context.bind("picture".into(), args.first().cloned().unwrap_or(JValue::Undefined));
    context.bind("zone".into(), args.get(1).cloned().unwrap_or(JValue::Undefined));
    Evaluator::with_context(context).evaluate(&ast, &JValue::Undefined)
}

/// A sequence of numbers that a seed fixes (SplitMix64); for `$random` and `$uuid`, not for secrets.
struct Chance(Cell<u64>);

impl Chance {
    fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.0.set(state);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// In [0, 1).
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what a double holds")]
    fn unit(&self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn uuid(&self) -> String {
        let bytes = (u128::from(self.next()) << 64 | u128::from(self.next())).to_be_bytes();
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }
}

fn number(args: &[JValue], at: usize, what: &str) -> Result<f64, EvaluatorError> {
    args.get(at).and_then(JValue::as_f64).ok_or_else(|| refuse(format!("{what} must be a number.")))
}

/// `$partition(array, size)`: the array in chunks.
fn partition(args: &[JValue]) -> Answer {
    let items = match args.first() {
        None | Some(JValue::Undefined) => return Ok(JValue::Undefined),
        Some(JValue::Array(items)) => items.to_vec(),
        Some(single) => vec![single.clone()],
    };
    let size = number(args, 1, "The second argument of $partition")?;
    if size < 1.0 || size.fract() != 0.0 {
        return Err(refuse("The second argument of $partition must be a positive integer."));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, positive; saturates")]
    let size = size as usize;
    Ok(JValue::array(items.chunks(size).map(|chunk| JValue::array(chunk.to_vec())).collect()))
}

/// `$range(first, last, step)`: the numbers from `first` to no further than `last`.
fn range(args: &[JValue]) -> Answer {
    let first = number(args, 0, "The first argument of $range")?;
    let last = number(args, 1, "The second argument of $range")?;
    let step = number(args, 2, "The third argument of $range")?;
    if step == 0.0 {
        return Err(refuse("The third argument of $range must not be zero."));
    }
    let steps = ((last - first) / step).floor();
    if steps < 0.0 {
        return Ok(JValue::array(Vec::new()));
    }
    #[expect(clippy::cast_precision_loss, reason = "a small constant")]
    if !steps.is_finite() || steps >= limits::EXPRESSION_ITEMS as f64 {
        return Err(refuse(format!("$range would make more than {} items.", limits::EXPRESSION_ITEMS)));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "finite, bounded, not negative"
    )]
    let steps = steps as u32;
    Ok(JValue::array((0..=steps).map(|at| JValue::from(first + f64::from(at) * step)).collect()))
}

/// `$hash(data, algorithm)`: the digest in hexadecimal.
fn hash(args: &[JValue]) -> Answer {
    let data = match args.first() {
        None | Some(JValue::Undefined) => return Ok(JValue::Undefined),
        Some(JValue::String(text)) => text.to_string(),
        Some(other) => other.to_json_string().map_err(|error| refuse(error.to_string()))?,
    };
    let data = data.as_bytes();
    let algorithm = args.get(1).and_then(JValue::as_str).unwrap_or_default();
    let digest: Vec<u8> = match algorithm {
        "MD5" => md5::Md5::digest(data).to_vec(),
        "SHA-1" => sha1::Sha1::digest(data).to_vec(),
        "SHA-256" => Sha256::digest(data).to_vec(),
        "SHA-384" => Sha384::digest(data).to_vec(),
        "SHA-512" => Sha512::digest(data).to_vec(),
        _ => {
            return Err(refuse(
                "The second argument of $hash must be one of MD5, SHA-1, SHA-256, SHA-384, SHA-512.",
            ));
        }
    };
    let mut text = String::with_capacity(digest.len() * 2);
    for byte in digest {
        let _ = write!(text, "{byte:02x}");
    }
    Ok(JValue::from(text))
}

/// `$parse(text)`: the value JSON text stands for.
fn parse(args: &[JValue]) -> Answer {
    match args.first() {
        None | Some(JValue::Undefined) => Ok(JValue::Undefined),
        Some(JValue::String(text)) => {
            JValue::from_json_str(text).map_err(|error| refuse(format!("$parse: {error}")))
        }
        Some(_) => Err(refuse("The argument of $parse must be a string.")),
    }
}
