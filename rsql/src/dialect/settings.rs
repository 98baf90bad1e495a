//! SET, RESET and SHOW of settings that only Redshift has.
//!
//! PostgreSQL keeps any setting that has a prefix, so `query_group` is kept as `rsql.query_group`:
//! it can be shown again, it rolls back with its transaction, and in a failed transaction it
//! fails, all as on Redshift. Settings that both know (`statement_timeout`, `search_path`, ...) pass.

use super::rewrite::Rewrite;
use crate::wire::ServerMessage;

/// <https://docs.aws.amazon.com/redshift/latest/dg/cm_chap_ConfigurationRef.html>, less what PostgreSQL has too.
const REDSHIFT_ONLY: [&str; 33] = [
    "activate_aqua",
    "analyze_threshold_percent",
    "auto_analyze",
    "auto_mv",
    "cast_super_null_on_error",
    "datashare_break_glass_session_var",
    "default_geometry_encoding",
    "describe_field_name_in_uppercase",
    "downcase_delimited_identifier",
    "enable_case_sensitive_identifier",
    "enable_case_sensitive_super_attribute",
    "enable_numeric_rounding",
    "enable_query_compilation_optimization",
    "enable_result_cache_for_session",
    "enable_vacuum_boost",
    "error_on_nondeterministic_update",
    "interval_forbid_composite_literals",
    "json_parse_dedup_attributes",
    "json_parse_truncate_strings",
    "json_serialization_enable",
    "json_serialization_parse_nested_strings",
    "max_concurrency_scaling_clusters",
    "max_cursor_result_set_size",
    "mv_enable_aqmv_for_session",
    "navigate_super_null_on_error",
    "parse_super_null_on_error",
    "pg_federation_repeatable_read",
    "query_group",
    "query_priority",
    "spectrum_enable_pseudo_columns",
    "spectrum_query_maxerror",
    "stored_proc_log_min_messages",
    "wlm_query_slot_count",
];

pub(super) fn rewrite(sql: &mut Rewrite<'_>) -> Result<(), Box<ServerMessage>> {
    let command = sql.keyword(0);
    let at = if command == "set" && ["session", "local"].contains(&sql.keyword(1).as_str()) { 2 } else { 1 };
    let name = sql.text(at).trim_matches('"').to_ascii_lowercase();
    // Already prefixed, or not ours.
    if !REDSHIFT_ONLY.contains(&name.as_str()) || sql.is(at + 1, ".") {
        return Ok(());
    }
    match command.as_str() {
        "set" => sql.replace(at, at + 1, format!("rsql.{name}")),
        // RESET of a setting that was never set is an error; setting it to its default is not.
        "reset" => sql.replace(0, at + 1, format!("set rsql.{name} to default")),
        _ => sql.replace(
            0,
            at + 1,
            format!("select coalesce(current_setting('rsql.{name}', true), '') as {name}"),
        ),
    }
    Ok(())
}
