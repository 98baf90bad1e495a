//! A look at the loaded tables, with the `rsql` that the scripts use.

use std::process::Stdio;

use rsqlflow_config::settings::Secret;
use tokio::process::Command;

use crate::backend::Backend;
use crate::error::CliError;

const COUNTS: &str = "\
select 'retail.dim_customer' as \"table\", count(*) as rows from retail.dim_customer union all \
select 'retail.dim_part', count(*) from retail.dim_part union all \
select 'retail.fact_sales', count(*) from retail.fact_sales union all \
select 'staging.customer', count(*) from staging.customer union all \
select 'staging.lineitem', count(*) from staging.lineitem union all \
select 'staging.orders', count(*) from staging.orders union all \
select 'staging.part', count(*) from staging.part order by 1";

/// The warehouse, as its secret describes it.
pub(super) struct Warehouse {
    secret: Secret,
}

impl Warehouse {
    /// Waits until the warehouse is up, which is when its secret can be had.
    pub(super) async fn find(backend: &Backend, secret_id: &str) -> Result<Self, CliError> {
        let secret = backend.clients.warehouse(secret_id).await?;
        Ok(Self { secret })
    }

    /// Where it is, without its password.
    pub(super) fn description(&self) -> String {
        let Secret { host, port, username, dbname, .. } = &self.secret;
        format!("PostgreSQL at {host}:{port}, database {dbname}, user {username}")
    }

    /// How many rows each table has.
    pub(super) async fn counts(&self) -> Result<String, CliError> {
        let rsql = std::env::current_exe()?.with_file_name("rsql");
        let Secret { host, port, username, password, dbname } = &self.secret;
        let output = Command::new(rsql)
            .args(["-h", host, "-p", &port.to_string(), "-U", username, "-d", dbname, "-c", COUNTS])
            .env("RSPASSWORD", password)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .await?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
