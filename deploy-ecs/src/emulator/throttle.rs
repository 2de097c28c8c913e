//! ECS's throttling: token buckets per group of actions, per account and region, as published.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Tokens are counted in thousandths, so that a refill of R per second is R thousandths per millisecond.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Bucket {
    milli: i64,
    at: i64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Buckets(BTreeMap<String, Bucket>);

/// The bucket of an action: its name, burst, and refill per second.
fn bucket_of(action: &str) -> Option<(&'static str, i64, i64)> {
    Some(match action {
        "RegisterTaskDefinition" | "DeregisterTaskDefinition" => ("task definition modify", 20, 1),
        "DeleteTaskDefinitions" => ("task definition delete", 5, 1),
        "DescribeTaskDefinition" | "ListTaskDefinitions" | "ListTaskDefinitionFamilies" => {
            ("task definition read", 50, 20)
        }
        "CreateService" | "UpdateService" | "DeleteService" => ("service modify", 50, 5),
        "DescribeServices" | "ListServices" => ("service read", 100, 20),
        "ListServiceDeployments" | "DescribeServiceDeployments" | "StopServiceDeployment" => {
            ("service deployment", 50, 20)
        }
        "DescribeServiceRevisions" => ("service revision", 50, 20),
        "DescribeTasks" | "ListTasks" => ("cluster resource read", 100, 20),
        "RunTask" | "StopTask" => ("cluster resource modify", 100, 40),
        "DescribeClusters" | "ListClusters" => ("cluster read", 50, 20),
        "CreateCluster" | "DeleteCluster" => ("cluster modify", 20, 1),
        "TagResource" | "UntagResource" => ("tag modify", 20, 10),
        "ListTagsForResource" => ("tag read", 50, 20),
        _ => return None,
    })
}

impl Buckets {
    /// Takes one token for `action`; false when there is none.
    pub(super) fn take(&mut self, action: &str, now: i64) -> bool {
        let Some((name, burst, refill)) = bucket_of(action) else { return true };
        let full = burst * 1000;
        let bucket = self.0.entry(name.to_owned()).or_insert(Bucket { milli: full, at: now });
        let passed = now.saturating_sub(bucket.at).max(0);
        bucket.milli = bucket.milli.saturating_add(passed.saturating_mul(refill)).min(full);
        bucket.at = bucket.at.max(now);
        if bucket.milli < 1000 {
            return false;
        }
        bucket.milli -= 1000;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_then_refill() {
        let mut buckets = Buckets::default();
        let burst = (0..30).filter(|_| buckets.take("RegisterTaskDefinition", 0)).count();
        assert_eq!(burst, 20);
        assert!(!buckets.take("DeregisterTaskDefinition", 999), "register and deregister share a bucket");
        assert!(buckets.take("DeregisterTaskDefinition", 1000));
        assert!(buckets.take("DescribeServices", 1000), "other buckets are not touched");
    }
}
