//! How often ECS lets itself be asked: the buckets that AWS publishes for an account and region
//! (<https://docs.aws.amazon.com/AmazonECS/latest/APIReference/request-throttling.html>).

use deploy_aws::Limit;

const fn limit(name: &'static str, burst: u32, per_second: u32) -> Limit {
    Limit { name, burst, per_second }
}

/// RegisterTaskDefinition.
pub(crate) const DEFINITION_MODIFY: Limit = limit("ecs: task definition modify", 20, 1);
/// DescribeTaskDefinition, ListTaskDefinitions.
pub(crate) const DEFINITION_READ: Limit = limit("ecs: task definition read", 50, 20);
/// UpdateService.
pub(crate) const SERVICE_MODIFY: Limit = limit("ecs: service modify", 50, 5);
/// DescribeServices.
pub(crate) const SERVICE_READ: Limit = limit("ecs: service read", 100, 20);
/// StopServiceDeployment, DescribeServiceDeployments.
pub(crate) const DEPLOYMENT: Limit = limit("ecs: service deployment", 50, 20);
/// ListTasks, DescribeTasks.
pub(crate) const TASK_READ: Limit = limit("ecs: cluster resource read", 100, 20);
