//! `rsqlflow template`: what an account needs, for CloudFormation.

use crate::args::TemplateFormat;
use crate::error::CliError;
use crate::exit::Exit;
use crate::screen::print_as_is;
use crate::template;

pub(super) fn template(format: TemplateFormat) -> Result<Exit, CliError> {
    let failed = || CliError::embedded("cannot render the template");
    let text = match format {
        TemplateFormat::Yaml => template::yaml().map_err(failed())?,
        TemplateFormat::Json => {
            let value = template::value().map_err(failed())?;
            serde_json::to_string_pretty(&value).map_err(std::io::Error::from)? + "\n"
        }
    };
    print_as_is(&text)?;
    Ok(Exit::Ok)
}
