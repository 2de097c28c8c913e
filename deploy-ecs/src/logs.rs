//! Where the lines of tasks are, and those that look like errors.

use async_trait::async_trait;
use deploy_aws::{LogLines, LogPlace};
use deploy_core::{
    Error, ErrorKind, Result,
    model::Timestamp,
    platform::{LogLine, Logs},
};

use crate::{connection::Service, definition::Definition, health};

#[async_trait]
impl Logs for Service {
    /// `DescribeTasks`, `DescribeTaskDefinition` and one `GetLogEvents`.
    async fn tail(&self, instance: &str, limit: usize) -> Result<Vec<String>> {
        let gone = || {
            Error::new(ErrorKind::NotFound, format!("ECS no longer knows the task {instance}"))
                .next("stopped tasks are kept for an hour; the log group has the lines still")
        };
        let task = self.client.tasks(vec![instance.to_owned()]).await?.into_iter().next().ok_or_else(gone)?;
        let culprit = health::fault_of(&task).and_then(|(fault, _)| fault.container);
        let definition = self.client.definition(task.task_definition_arn().unwrap_or_default()).await?;
        self.lines(&definition, culprit.as_deref(), instance, limit).await
    }

    /// `DescribeServices`, `DescribeTaskDefinition`, and `FilterLogEvents` for each container.
    async fn errors(&self, since: Timestamp, limit: usize) -> Result<Vec<LogLine>> {
        self.search(LogLines::Errors, since, limit).await
    }

    /// As `errors`.
    async fn written(&self, since: Timestamp, limit: usize) -> Result<Vec<LogLine>> {
        self.search(LogLines::All, since, limit).await
    }
}

impl Service {
    async fn search(&self, which: LogLines, since: Timestamp, limit: usize) -> Result<Vec<LogLine>> {
        let service = self.client.describe().await?;
        let definition = self.client.definition(service.task_definition().unwrap_or_default()).await?;
        let places: Vec<LogPlace> = definition
            .images()
            .keys()
            .filter_map(|container| definition.logs_of(Some(container), ""))
            .collect();
        if places.is_empty() {
            return Err(no_place(&definition));
        }
        let mut lines = Vec::new();
        for place in places {
            lines.extend(deploy_aws::search(&self.client.aws, &place, which, since, limit).await?);
        }
        lines.sort();
        lines.truncate(limit);
        Ok(lines)
    }

    pub(crate) async fn lines(
        &self,
        definition: &Definition,
        container: Option<&str>,
        task: &str,
        limit: usize,
    ) -> Result<Vec<String>> {
        let place = definition.logs_of(container, task).or_else(|| definition.logs_of(None, task));
        match place {
            Some(place) => deploy_aws::tail(&self.client.aws, &place, limit).await,
            None => Err(no_place(definition)),
        }
    }
}

fn no_place(definition: &Definition) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("{} does not log to CloudWatch under a prefix", definition.name()),
    )
    .next("set awslogs-stream-prefix in its logConfiguration")
}
