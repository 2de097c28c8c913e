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
        "DescribeTasks" | "ListTasks" | "ListContainerInstances" | "DescribeContainerInstances" => {
            ("cluster resource read", 100, 20)
        }
        "RunTask" | "StopTask" => ("cluster resource modify", 100, 40),
        "DescribeClusters" | "ListClusters" => ("cluster read", 50, 20),
        "CreateCluster"
        | "DeleteCluster"
        | "UpdateCluster"
        | "UpdateClusterSettings"
        | "PutClusterCapacityProviders" => ("cluster modify", 20, 1),
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
    fn every_group_has_its_burst_and_its_refill() {
        let rows: [(&[&str], usize, usize); 14] = [
            (&["RegisterTaskDefinition", "DeregisterTaskDefinition"], 20, 1),
            (&["DeleteTaskDefinitions"], 5, 1),
            (&["DescribeTaskDefinition", "ListTaskDefinitions", "ListTaskDefinitionFamilies"], 50, 20),
            (&["CreateService", "UpdateService", "DeleteService"], 50, 5),
            (&["DescribeServices", "ListServices"], 100, 20),
            (&["ListServiceDeployments", "DescribeServiceDeployments"], 50, 20),
            (&["DescribeServiceRevisions"], 50, 20),
            (&["DescribeTasks", "ListTasks"], 100, 20),
            (&["RunTask", "StopTask"], 100, 40),
            (&["DescribeClusters", "ListClusters"], 50, 20),
            (&["CreateCluster", "DeleteCluster"], 20, 1),
            (&["TagResource", "UntagResource"], 20, 10),
            (&["ListTagsForResource"], 50, 20),
            (&["StopServiceDeployment"], 50, 20),
        ];
        for (actions, burst, refill) in rows {
            let mut buckets = Buckets::default();
            // They share one bucket, so taking turns makes no difference.
            let mut turns = actions.iter().cycle();
            let mut taken = |buckets: &mut Buckets, at| {
                (0..200).filter(|_| turns.next().is_some_and(|action| buckets.take(action, at))).count()
            };
            assert_eq!(taken(&mut buckets, 0), burst, "{actions:?}");
            assert_eq!(taken(&mut buckets, 1_000), refill, "{actions:?}");
            assert_eq!(taken(&mut buckets, 1_000_000), burst, "{actions:?} never holds more than its burst");
        }
    }
}
