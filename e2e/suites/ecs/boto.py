"""boto3, with its own waiters and paginators, against the served emulator.

Every answer is also held against the shapes that boto3 knows: a member that the API does not have, or one of another
type, is a failure, and so is an error that the action cannot have.
"""

import json
import time
import urllib.request

import boto3
import botocore.exceptions

ACCOUNT = "123456789012"
REGISTRY = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com"
NETWORK = {"awsvpcConfiguration": {"subnets": ["subnet-1"], "securityGroups": ["sg-1"], "assignPublicIp": "ENABLED"}}
QUICKLY = {"Delay": 1, "MaxAttempts": 60}
# Not modelled by any action: every JSON service has them.
COMMON_ERRORS = {"SerializationException", "ThrottlingException", "UnknownOperationException"}

passed = failed = 0
strange = set()


def check(what, expected, seen):
    global passed, failed
    if expected == seen:
        passed += 1
    else:
        failed += 1
        print(f"FAILED {what}\n  expected: {expected!r}\n  got:      {seen!r}")


def compare(shape, value, where):
    """Notes whatever in an answer is not as the API describes it."""
    if value is None:
        strange.add(f"{where}: null")
        return
    kind = shape.type_name
    types = {"structure": dict, "map": dict, "list": list, "string": str, "boolean": bool, "integer": int,
             "long": int, "float": (int, float), "double": (int, float), "timestamp": (int, float)}
    if not isinstance(value, types.get(kind, object)) or (kind != "boolean" and isinstance(value, bool)):
        strange.add(f"{where}: {value!r} is no {kind}")
    elif kind == "structure":
        for key, inner in value.items():
            if key in shape.members:
                compare(shape.members[key], inner, f"{where}.{key}")
            else:
                strange.add(f"{where}.{key}: there is no such member")
    elif kind == "map":
        for key, inner in value.items():
            compare(shape.value, inner, f"{where}.{key}")
    elif kind == "list":
        for inner in value:
            compare(shape.member, inner, f"{where}[]")
    elif kind == "string" and shape.enum and value not in shape.enum:
        strange.add(f"{where}: {value!r} is none of {shape.enum}")


def look(response_dict, operation_model, **_):
    if response_dict["status_code"] == 200 and operation_model.metadata["protocol"] == "json":
        body = json.loads(response_dict["body"])
        if operation_model.output_shape is not None:
            compare(operation_model.output_shape, body, operation_model.name)
    elif response_dict["status_code"] != 200 and operation_model.metadata["protocol"] == "json":
        code = json.loads(response_dict["body"])["__type"]
        known = {shape.name for shape in operation_model.error_shapes}
        if code not in known | COMMON_ERRORS:
            strange.add(f"{operation_model.name}: the error {code} is not one of its own")


def client(service):
    made = boto3.client(service)
    made.meta.events.register("before-parse.*.*", look)
    return made


ecs, ecr, logs, sts = (client(service) for service in ("ecs", "ecr", "logs", "sts"))


def refused(what, code, call, **arguments):
    try:
        call(**arguments)
        seen = "no error"
    except botocore.exceptions.ClientError as error:
        seen = error.response["Error"]["Code"]
    check(what, code, seen)


def register(tag, **more):
    container = {
        "name": "app", "image": f"{REGISTRY}/shop:{tag}", "portMappings": [{"containerPort": 80}],
        "logConfiguration": {"logDriver": "awslogs", "options": {
            "awslogs-group": "/ecs/shop", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "app"}},
    }
    answer = ecs.register_task_definition(
        family="shop", networkMode="awsvpc", cpu="256", memory="512", requiresCompatibilities=["FARGATE"],
        containerDefinitions=[container], **more)
    return answer["taskDefinition"]["taskDefinitionArn"]


def service(name="shop"):
    return ecs.describe_services(cluster="web", services=[name], include=["TAGS"])["services"][0]


def stable():
    """As the waiter has it; then until ECS itself says so, which it does later."""
    ecs.get_waiter("services_stable").wait(cluster="web", services=["shop"], WaiterConfig=QUICKLY)
    until("completed", lambda: service()["deployments"][0]["rolloutState"] == "COMPLETED")


def until(what, so):
    for _ in range(60):
        if so():
            return
        time.sleep(0.5)
    check(what, "so after half a minute", "not so")


def clusters_and_identity():
    who = sts.get_caller_identity()
    check("identity", (ACCOUNT, f"arn:aws:iam::{ACCOUNT}:user/deployer"), (who["Account"], who["Arn"]))
    made = ecs.create_cluster(clusterName="web", tags=[{"key": "stage", "value": "test"}],
                              settings=[{"name": "containerInsights", "value": "disabled"}])["cluster"]
    check("cluster", ("web", "ACTIVE"), (made["clusterName"], made["status"]))
    check("created again", made["clusterArn"], ecs.create_cluster(clusterName="web")["cluster"]["clusterArn"])
    check("listed", [made["clusterArn"]], ecs.list_clusters()["clusterArns"])
    seen = ecs.describe_clusters(clusters=["web", "nowhere"], include=["TAGS", "STATISTICS", "SETTINGS"])
    check("described", [{"key": "stage", "value": "test"}], seen["clusters"][0]["tags"])
    check("missing", ["MISSING"], [one["reason"] for one in seen["failures"]])
    check("statistics", True, {"name": "runningFargateTasksCount", "value": "0"} in seen["clusters"][0]["statistics"])
    refused("another account", "InvalidParameterException", ecs.list_tasks,
            cluster="arn:aws:ecs:us-east-1:999999999999:cluster/web")
    refused("no such cluster", "ClusterNotFoundException", ecs.list_tasks, cluster="nowhere")


def definitions():
    first = register("ok-1", tags=[{"key": "made-by", "value": "test"}])
    seen = ecs.describe_task_definition(taskDefinition="shop", include=["TAGS"])
    check("newest", (first, 1, "ACTIVE"),
          tuple(seen["taskDefinition"][key] for key in ("taskDefinitionArn", "revision", "status")))
    check("its tags", [{"key": "made-by", "value": "test"}], seen["tags"])
    refused("no containers", "ClientException", ecs.register_task_definition, family="x", containerDefinitions=[])
    refused("no such definition", "ClientException", ecs.describe_task_definition, taskDefinition="nothing")
    refused("Fargate needs a network", "ClientException", ecs.register_task_definition, family="x", cpu="256",
            memory="512", requiresCompatibilities=["FARGATE"], containerDefinitions=[{"name": "a", "image": "b"}])
    for n in range(3):
        container = {"name": "a", "image": "b", "memory": 64}
        ecs.register_task_definition(family=f"page-{n}", containerDefinitions=[container])
    pages = ecs.get_paginator("list_task_definitions").paginate(PaginationConfig={"PageSize": 2})
    check("pages", 4, sum(len(page["taskDefinitionArns"]) for page in pages))
    check("families", ["page-0", "page-1", "page-2"],
          ecs.list_task_definition_families(familyPrefix="page-")["families"])
    ecs.deregister_task_definition(taskDefinition="page-0:1")
    deleted = ecs.delete_task_definitions(taskDefinitions=["page-0:1", "page-1:1"])
    check("deleted", ["DELETE_IN_PROGRESS"], [one["status"] for one in deleted["taskDefinitions"]])
    check("still active", 1, len(deleted["failures"]))
    return first


def life_of_a_service(first):
    made = ecs.create_service(
        cluster="web", serviceName="shop", taskDefinition=first, desiredCount=2, launchType="FARGATE",
        networkConfiguration=NETWORK, tags=[{"key": "team", "value": "shop"}], propagateTags="SERVICE",
        enableExecuteCommand=True, enableECSManagedTags=True,
        deploymentConfiguration={"deploymentCircuitBreaker": {"enable": True, "rollback": True}})["service"]
    check("echoed", ("SERVICE", True, "FARGATE", NETWORK),
          tuple(made[key] for key in ("propagateTags", "enableExecuteCommand", "launchType", "networkConfiguration")))
    refused("created again", "InvalidParameterException", ecs.create_service, cluster="web", serviceName="shop",
            taskDefinition=first, desiredCount=2, networkConfiguration=NETWORK)
    refused("without a network", "InvalidParameterException", ecs.create_service, cluster="web", serviceName="other",
            taskDefinition=first, desiredCount=1)
    stable()
    now = service()
    check("stable", (2, 2, 1, "COMPLETED"), (now["runningCount"], now["desiredCount"], len(now["deployments"]),
                                             now["deployments"][0]["rolloutState"]))
    tasks = ecs.list_tasks(cluster="web", serviceName="shop")["taskArns"]
    task = ecs.describe_tasks(cluster="web", tasks=tasks, include=["TAGS"])["tasks"][0]
    check("startedBy", now["deployments"][0]["id"], task["startedBy"])
    check("an address", True, task["containers"][0]["networkInterfaces"][0]["privateIpv4Address"].startswith("10."))
    tags = {tag["key"]: tag["value"] for tag in task["tags"]}
    check("passed on", ("shop", "web", "shop"),
          (tags["team"], tags["aws:ecs:clusterName"], tags["aws:ecs:serviceName"]))

    second = register("ok-2")
    before = now["deployments"][0]["id"]
    updated = ecs.update_service(cluster="web", service="shop", taskDefinition=second, desiredCount=3)["service"]
    check("two deployments", ["PRIMARY", "ACTIVE"], [one["status"] for one in updated["deployments"]])
    stable()
    good = service()["deployments"][0]
    check("good update", (second, 3, True), (good["taskDefinition"], good["runningCount"], good["id"] != before))
    revision = service()["currentServiceRevisions"][0]["arn"]
    image = ecs.describe_service_revisions(serviceRevisionArns=[revision])["serviceRevisions"][0]["containerImages"][0]
    digest = ecr.describe_images(repositoryName="shop", imageIds=[{"imageTag": "ok-2"}])["imageDetails"][0]
    check("digest", digest["imageDigest"], image["imageDigest"])

    third = register("crash-1")
    ours = ecs.update_service(cluster="web", service="shop", taskDefinition=third)["service"]["deployments"][0]["id"]
    seen = []

    def failed_and_back():
        now = service()["deployments"]
        seen[:] = [(one["id"], one["status"]) for one in now if one["rolloutState"] == "FAILED"]
        return bool(seen) and now[0]["id"] == good["id"]

    until("the breaker trips", failed_and_back)
    check("failed, and no longer primary", [(ours, "ACTIVE")], seen)
    stopped = ecs.list_tasks(cluster="web", serviceName="shop", desiredStatus="STOPPED")["taskArns"]
    crashed = [one for one in ecs.describe_tasks(cluster="web", tasks=stopped)["tasks"] if one["startedBy"] == ours]
    check("crashed", {("EssentialContainerExited", 1)},
          {(one["stopCode"], one["containers"][0].get("exitCode")) for one in crashed
           if one["stopCode"] == "EssentialContainerExited"})
    check("at least three", True, len(crashed) >= 3)
    stream = f"app/app/{crashed[0]['taskArn'].rsplit('/', 1)[1]}"
    lines = logs.get_log_events(logGroupName="/ecs/shop", logStreamName=stream, startFromHead=True)["events"]
    check("last words", True, any("Error:" in line["message"] for line in lines))
    stable()
    check("back", (second, good["id"]), (service()["taskDefinition"], service()["deployments"][0]["id"]))
    briefs = ecs.list_service_deployments(cluster="web", service="shop")["serviceDeployments"]
    check("history", ["ROLLBACK_SUCCESSFUL", "SUCCESSFUL", "SUCCESSFUL"], [one["status"] for one in briefs])
    whole = ecs.describe_service_deployments(serviceDeploymentArns=[briefs[0]["serviceDeploymentArn"], "x"])
    breaker = whole["serviceDeployments"][0]["deploymentCircuitBreaker"]
    check("breaker", {"status": "TRIGGERED", "failureCount": 3, "threshold": 3}, breaker)
    check("no such deployment", 1, len(whole["failures"]))
    refused("already ended", "ConflictException", ecs.stop_service_deployment,
            serviceDeploymentArn=briefs[0]["serviceDeploymentArn"])

    ecs.update_service(cluster="web", service="shop", taskDefinition=register("slow-1"))
    ecs.stop_service_deployment(serviceDeploymentArn=service()["currentServiceDeployment"])
    stable()
    check("stopped by hand", (second, good["id"]), (service()["taskDefinition"], service()["deployments"][0]["id"]))
    ecs.update_service(cluster="web", service="shop", desiredCount=1)
    stable()
    check("scaled, same deployment", (1, good["id"]), (service()["runningCount"], service()["deployments"][0]["id"]))
    forced = ecs.update_service(cluster="web", service="shop", forceNewDeployment=True)["service"]
    check("forced anew", True, forced["deployments"][0]["id"] != good["id"])
    stable()
    ecs.tag_resource(resourceArn=made["serviceArn"], tags=[{"key": "more", "value": "1"}])
    ecs.untag_resource(resourceArn=made["serviceArn"], tagKeys=["team"])
    check("tags", [{"key": "more", "value": "1"}], service()["tags"])
    refused("tags of nothing", "ResourceNotFoundException", ecs.tag_resource,
            resourceArn=made["serviceArn"] + "x", tags=[{"key": "a", "value": "b"}])


def one_off_tasks(first):
    usual = {"cluster": "web", "taskDefinition": first, "launchType": "FARGATE", "networkConfiguration": NETWORK}
    overrides = {"containerOverrides": [{"name": "app", "command": ["sh", "-c", "sleep 60; exit 3"],
                                         "environment": [{"name": "A", "value": "1"}]}]}
    answer = ecs.run_task(**usual, count=2, clientToken="once", startedBy="me", group="jobs", overrides=overrides)
    tasks = [one["taskArn"] for one in answer["tasks"]]
    check("two", (2, []), (len(tasks), answer["failures"]))
    check("echoed", (overrides["containerOverrides"], "me", "jobs"),
          (answer["tasks"][0]["overrides"]["containerOverrides"], answer["tasks"][0]["startedBy"],
           answer["tasks"][0]["group"]))
    again = ecs.run_task(**usual, count=2, clientToken="once", startedBy="me", group="jobs", overrides=overrides)
    check("the same two", tasks, [one["taskArn"] for one in again["tasks"]])
    try:
        ecs.run_task(**usual, count=1, clientToken="once")
        check("the token is used", "a conflict", "no error")
    except ecs.exceptions.ConflictException as error:
        check("the token is used", tasks, error.response["resourceIds"])
    ecs.get_waiter("tasks_running").wait(cluster="web", tasks=tasks, WaiterConfig=QUICKLY)
    ecs.get_waiter("tasks_stopped").wait(cluster="web", tasks=tasks, WaiterConfig=QUICKLY)
    ended = ecs.describe_tasks(cluster="web", tasks=tasks)["tasks"]
    check("exit codes", [3, 3], [one["containers"][0]["exitCode"] for one in ended])
    check("in order", True, all(one["createdAt"] <= one["startedAt"] <= one["stoppedAt"] for one in ended))

    runs = ecs.run_task(**usual)["tasks"][0]["taskArn"]
    ecs.get_waiter("tasks_running").wait(cluster="web", tasks=[runs], WaiterConfig=QUICKLY)
    check("listed by family", True, runs in ecs.list_tasks(cluster="web", family="shop")["taskArns"])
    ecs.stop_task(cluster="web", task=runs, reason="enough")
    ecs.get_waiter("tasks_stopped").wait(cluster="web", tasks=[runs], WaiterConfig=QUICKLY)
    ended = ecs.describe_tasks(cluster="web", tasks=[runs, "nothing"])
    check("stopped", ("UserInitiated", "enough"), (ended["tasks"][0]["stopCode"], ended["tasks"][0]["stoppedReason"]))
    check("no such task", ["MISSING"], [one["reason"] for one in ended["failures"]])
    nowhere = ecs.run_task(**{**usual, "taskDefinition": register("nocapacity")})
    check("no capacity", (0, 1), (len(nowhere["tasks"]), len(nowhere["failures"])))
    refused("eleven", "InvalidParameterException", ecs.run_task, **usual, count=11)
    refused("no such container", "InvalidParameterException", ecs.run_task, **usual,
            overrides={"containerOverrides": [{"name": "other", "command": ["a"]}]})
    refused("no such task", "InvalidParameterException", ecs.stop_task, cluster="web", task="nothing")
    refused("two filters", "InvalidParameterException", ecs.list_tasks, cluster="web", startedBy="me", family="shop")


def many_services(first):
    names = sorted(f"page-{n:02}" for n in range(12))
    for name in names:
        ecs.create_service(cluster="web", serviceName=name, taskDefinition=first, desiredCount=0,
                           networkConfiguration=NETWORK)
    pages = list(ecs.get_paginator("list_services").paginate(cluster="web"))
    check("pages of ten", [10, 3], [len(page["serviceArns"]) for page in pages])
    refused("eleven services", "InvalidParameterException", ecs.describe_services, cluster="web", services=names[:11])
    for name in names:
        ecs.delete_service(cluster="web", service=name)
    ecs.get_waiter("services_inactive").wait(cluster="web", services=names[:10], WaiterConfig=QUICKLY)


def images_and_logs():
    images = {one.get("imageTag") for one in ecr.list_images(repositoryName="shop")["imageIds"]}
    check("usual tags", True, {"ok", "crash", "nopull", "ok-2"} <= images)
    refused("no such image", "ImageNotFoundException", ecr.describe_images, repositoryName="shop",
            imageIds=[{"imageTag": "v1"}])
    for tag, expected in (("ok-2", "amd64"), ("ok-arm64", "arm64")):
        found = ecr.batch_get_image(repositoryName="shop", imageIds=[{"imageTag": tag}])["images"][0]
        manifest = json.loads(found["imageManifest"])
        layer = ecr.get_download_url_for_layer(repositoryName="shop", layerDigest=manifest["config"]["digest"])
        with urllib.request.urlopen(layer["downloadUrl"]) as answer:
            check(f"architecture of {tag}", expected, json.load(answer)["architecture"])
    absent = ecr.batch_get_image(repositoryName="shop", imageIds=[{"imageTag": "v1"}])
    check("a failure", ["ImageNotFound"], [one["failureCode"] for one in absent["failures"]])
    put = {"repositoryName": "shop", "imageManifest": json.dumps({"schemaVersion": 2}), "imageTag": "v1"}
    digest = ecr.put_image(**put)["image"]["imageId"]["imageDigest"]
    seen = ecr.describe_images(repositoryName="shop", imageIds=[{"imageTag": "v1"}])["imageDetails"][0]
    check("put", digest, seen["imageDigest"])
    refused("put again", "ImageAlreadyExistsException", ecr.put_image, **put)
    repository = ecr.describe_repositories(repositoryNames=["shop"])["repositories"][0]
    check("repository", f"{REGISTRY}/shop", repository["repositoryUri"])
    token = ecr.get_authorization_token()["authorizationData"][0]
    check("token", f"https://{REGISTRY}", token["proxyEndpoint"])

    check("groups", ["/ecs/shop"], [one["logGroupName"] for one in logs.describe_log_groups()["logGroups"]])
    found = logs.filter_log_events(logGroupName="/ecs/shop", filterPattern="Error")["events"]
    check("filtered", True, bool(found) and all("Error" in line["message"] for line in found))
    streams = logs.describe_log_streams(logGroupName="/ecs/shop", orderBy="LastEventTime", descending=True, limit=3)
    check("streams", 3, len(streams["logStreams"]))
    refused("no such group", "ResourceNotFoundException", logs.get_log_events, logGroupName="/x", logStreamName="y")


def the_end():
    refused("scaled above 0", "InvalidParameterException", ecs.delete_service, cluster="web", service="shop")
    refused("services are in it", "ClusterContainsServicesException", ecs.delete_cluster, cluster="web")
    ecs.delete_service(cluster="web", service="shop", force=True)
    ecs.get_waiter("services_inactive").wait(cluster="web", services=["shop"], WaiterConfig=QUICKLY)
    check("inactive", "INACTIVE", service()["status"])
    refused("not active", "ServiceNotActiveException", ecs.update_service, cluster="web", service="shop",
            desiredCount=1)
    refused("not there", "ServiceNotFoundException", ecs.delete_service, cluster="web", service="shop")
    check("gone", "INACTIVE", ecs.delete_cluster(cluster="web")["cluster"]["status"])
    refused("gone", "ClusterNotFoundException", ecs.list_services, cluster="web")


def main():
    try:
        clusters_and_identity()
        first = definitions()
        life_of_a_service(first)
        one_off_tasks(first)
        many_services(first)
        images_and_logs()
        the_end()
    except botocore.exceptions.BotoCoreError as error:
        check("boto3 goes on", "no error", repr(error))
    except botocore.exceptions.ClientError as error:
        check("boto3 goes on", "no error", repr(error))
    check("every answer has the API's shape", [], sorted(strange))
    print(f"RESULT passed={passed} failed={failed}")
    return 0 if failed == 0 and passed > 0 else 1


if __name__ == "__main__":
    raise SystemExit(main())
