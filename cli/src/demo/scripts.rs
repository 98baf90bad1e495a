//! The demo's scripts: those of `rsql_scripts/retail`, carried in the binary for whoever has no checkout.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// File name and text of each.
const SCRIPTS: [(&str, &str); 8] = [
    ("10_create_schema.sh", include_str!("../../../rsql_scripts/retail/10_create_schema.sh")),
    ("11_create_tables.sh", include_str!("../../../rsql_scripts/retail/11_create_tables.sh")),
    ("20_load_staging.sh", include_str!("../../../rsql_scripts/retail/20_load_staging.sh")),
    ("30_dim_customer.sh", include_str!("../../../rsql_scripts/retail/30_dim_customer.sh")),
    ("31_dim_part.sh", include_str!("../../../rsql_scripts/retail/31_dim_part.sh")),
    ("40_fact_sales.sh", include_str!("../../../rsql_scripts/retail/40_fact_sales.sh")),
    ("90_validate.sh", include_str!("../../../rsql_scripts/retail/90_validate.sh")),
    ("95_report.rsql", include_str!("../../../rsql_scripts/retail/95_report.rsql")),
];

/// Writes the scripts into the scripts directory, those that are not there; someone may have changed the others.
/// Returns a line that says what was done.
pub(super) fn unpack(scripts_dir: &Path) -> io::Result<String> {
    let dir = scripts_dir.join("retail");
    fs::create_dir_all(&dir)?;
    let mut written = 0;
    for (name, text) in SCRIPTS {
        let path = dir.join(name);
        if !path.exists() {
            fs::write(&path, text)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
            written += 1;
        }
    }
    let dir = dir.display();
    Ok(if written == 0 {
        format!("the scripts are in {dir}")
    } else {
        format!("{written} scripts written to {dir}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("retail")).unwrap();
        fs::write(dir.path().join("retail/90_validate.sh"), "mine").unwrap();
        assert!(unpack(dir.path()).unwrap().starts_with("7 scripts"));
        assert!(unpack(dir.path()).unwrap().starts_with("the scripts are in"));
        assert_eq!(fs::read_to_string(dir.path().join("retail/90_validate.sh")).unwrap(), "mine");
    }
}
