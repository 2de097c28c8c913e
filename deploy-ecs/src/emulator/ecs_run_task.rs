//! RunTask: one-off tasks.

use serde_json::{Map, Value, json};

use super::behaviour::Behaviour;
use super::ecs::{cluster, cluster_name};
use super::ecs_services::{check_network, images, launch_fields};
use super::ecs_tags::{given_tags, launch_tags, tags_of};
use super::error::ApiError;
use super::lifecycle::{self, Launch};
use super::params::Params;
use super::state::{Cluster, Job};
use super::world::World;
use super::{ecs_definitions, task_view};

/// Tasks that one call may start.
const TASKS: i64 = 10;

pub(super) fn run(world: &mut World, params: Params<'_>) -> Result<Value, ApiError> {
    let key = cluster_name(params)?.to_owned();
    let known = cluster(world, params)?;
    let asked = Value::Object(params.all().clone());
    let token = params.str("clientToken")?;
    if let Some((before, ids)) = token.and_then(|t| known.run_tokens.get(t)) {
        let arns = ids.iter().filter_map(|id| Some(known.tasks.get(id)?.arn.clone())).collect();
        return if *before == asked {
            Ok(answer(world, known, ids))
        } else {
            Err(ApiError::conflict(
                "The RunTask request could not be processed due to conflicts: the client token was used before.",
                arns,
            ))
        };
    }
    let number = params.int("count")?.unwrap_or(1);
    if !(1..=TASKS).contains(&number) {
        return Err(ApiError::invalid(format!("count must be between 1 and {TASKS}.")));
    }
    let mut tags = given_tags(params)?;
    let definition = ecs_definitions::find_active(world, params.need("taskDefinition")?)?.clone();
    let overrides = params.get("overrides").cloned().unwrap_or_else(|| json!({}));
    let job = job(&overrides, &definition.fields, world.core.config.timings.job_ms)?;
    check_network(params.all(), &definition)?;
    let images = images(world, &definition);
    let known = cluster(world, params)?;
    if images.iter().any(|i| i.behaviour == Behaviour::NoCapacity) {
        let failure = json!({
            "arn": known.arn,
            "reason": "Capacity is unavailable at this time. Please try again later or in a different availability zone",
        });
        return Ok(json!({"tasks": [], "failures": [failure]}));
    }
    tags.extend(launch_tags(&world.core, params.all(), &definition.arn, &key, None));
    let mut fields = launch_fields(params.all());
    fields.insert("overrides".to_owned(), overrides);
    let started_by = params.str("startedBy")?.map(str::to_owned);
    let group = params.str("group")?.map_or_else(|| format!("family:{}", definition.family), str::to_owned);
    let core = &mut world.core;
    let found = world.clusters.get_mut(&key).ok_or_else(ApiError::cluster_not_found)?;
    let ids: Vec<String> = (0..number)
        .map(|_| {
            let launch = Launch {
                task_definition: &definition.arn,
                images: &images,
                started_by: started_by.clone(),
                service: None,
                group: group.clone(),
                target: None,
                job,
                network: params.get("networkConfiguration"),
                tags: tags.clone(),
                fields: fields.clone(),
            };
            lifecycle::launch(core, found, launch)
        })
        .collect();
    if let Some(token) = token {
        found.run_tokens.insert(token.to_owned(), (asked, ids.clone()));
    }
    Ok(answer(world, cluster(world, params)?, &ids))
}

fn answer(world: &World, cluster: &Cluster, ids: &[String]) -> Value {
    let tasks = ids.iter().filter_map(|id| cluster.tasks.get(id));
    let tasks: Vec<Value> = tasks.map(|t| task_view::view(t, Some(&tags_of(world, &t.arn)))).collect();
    json!({"tasks": tasks, "failures": []})
}

/// What the overrides' command lets the task do; `None` if nobody told it anything.
fn job(overrides: &Value, fields: &Map<String, Value>, usual_ms: i64) -> Result<Option<Job>, ApiError> {
    let containers = fields.get("containerDefinitions").and_then(Value::as_array);
    let overridden = overrides.get("containerOverrides").and_then(Value::as_array);
    let mut job = None;
    for container in overridden.into_iter().flatten() {
        let name = container.get("name").and_then(Value::as_str).unwrap_or_default();
        let known = |c: &Value| c.get("name").and_then(Value::as_str) == Some(name);
        if !containers.into_iter().flatten().any(known) {
            return Err(ApiError::invalid(format!(
                "Override for container named {name} is not a container in the TaskDefinition."
            )));
        }
        let command = container.get("command").and_then(Value::as_array).filter(|c| !c.is_empty());
        if let (Some(command), None) = (command, job) {
            job = Some(told(command, usual_ms));
        }
    }
    Ok(job)
}

fn told(command: &[Value], usual_ms: i64) -> Job {
    let text: Vec<&str> = command.iter().filter_map(Value::as_str).collect();
    let text = text.join(" ");
    let words: Vec<&str> =
        text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty()).collect();
    let after = |word: &str| -> Option<i64> {
        words.windows(2).find_map(|pair| if pair[0] == word { pair[1].parse().ok() } else { None })
    };
    Job {
        lasts_ms: after("sleep").map_or(usual_ms, |seconds| seconds.clamp(0, 1_000_000) * 1000),
        exit_code: after("exit").map_or(0, |code| code.clamp(0, 255)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_says_how_long_and_with_what_code() {
        let rows = [
            (vec!["migrate"], 5_000, 0),
            (vec!["sh", "-c", "sleep 2; exit 3"], 2_000, 3),
            (vec!["exit", "1"], 5_000, 1),
            (vec!["sleep", "30"], 30_000, 0),
            (vec!["exit", "99999999999999999999"], 5_000, 0),
        ];
        for (command, lasts_ms, exit_code) in rows {
            let values: Vec<Value> = command.iter().map(|word| json!(word)).collect();
            assert_eq!(told(&values, 5_000), Job { lasts_ms, exit_code }, "{command:?}");
        }
    }
}
