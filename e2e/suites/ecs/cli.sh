# The aws CLI, its `wait` commands too, takes a service through its life on the served emulator.
set -euo pipefail
source e2e/suites/ecs/clients.sh
aws_environment
emulator 20
ecs() { aws ecs "$@" --output text; }
image=123456789012.dkr.ecr.us-east-1.amazonaws.com/shop

register() {
    ecs register-task-definition --family shop --requires-compatibilities FARGATE --network-mode awsvpc --cpu 256 \
        --memory 512 --container-definitions "[{\"name\":\"app\",\"image\":\"$image:$1\",\"portMappings\":[{\"containerPort\":80}]}]" \
        --query taskDefinition.taskDefinitionArn
}
service() { ecs describe-services --cluster web --services shop --query "services[0].$1"; }
network='awsvpcConfiguration={subnets=[subnet-1],securityGroups=[sg-1],assignPublicIp=ENABLED}'

check "who calls" 123456789012 "$(aws sts get-caller-identity --query Account --output text)"
check "create a cluster" ACTIVE "$(ecs create-cluster --cluster-name web --query cluster.status)"
first=$(register ok-1)
check "register" arn:aws:ecs:us-east-1:123456789012:task-definition/shop:1 "$first"
check "create a service" ACTIVE "$(ecs create-service --cluster web --service-name shop --task-definition shop --desired-count 2 \
    --launch-type FARGATE --network-configuration "$network" --tags key=team,value=shop \
    --deployment-configuration 'deploymentCircuitBreaker={enable=true,rollback=true}' --query service.status)"
refused "create it twice" InvalidParameterException \
    aws ecs create-service --cluster web --service-name shop --task-definition shop --desired-count 1 --network-configuration "$network"
aws ecs wait services-stable --cluster web --services shop
check "stable with two tasks" "2 1" "$(service '[runningCount, length(deployments)]' | tr '\t' ' ')"
check "tags" shop "$(ecs list-tags-for-resource --resource-arn "$(service serviceArn)" --query 'tags[?key==`team`].value')"

second=$(register ok-2)
ecs update-service --cluster web --service shop --task-definition "$second" --desired-count 3 --query service.status >/dev/null
aws ecs wait services-stable --cluster web --services shop
check "the good update runs" "$second" "$(service taskDefinition)"
check "three tasks of it" 3 "$(service 'deployments[0].runningCount')"
check "it is completed" COMPLETED "$(service 'deployments[0].rolloutState')"

bad=$(register crash-1)
good=$(service 'deployments[0].id')
ecs update-service --cluster web --service shop --task-definition "$bad" --query service.status >/dev/null
# It is stable again when ECS has gone back.
aws ecs wait services-stable --cluster web --services shop
check "the breaker goes back" "$second" "$(service taskDefinition)"
check "to the old deployment's id" "$good" "$(service 'deployments[0].id')"
check "and says so" ROLLBACK_SUCCESSFUL \
    "$(ecs list-service-deployments --cluster web --service shop --max-items 1 --query 'serviceDeployments[0].status' | head -n 1)"
stopped=$(ecs list-tasks --cluster web --service-name shop --desired-status STOPPED --query 'taskArns[]' | tr '\t' '\n')
# shellcheck disable=SC2086  # one word a task
check "tasks say why they stopped" "EssentialContainerExited 1" \
    "$(ecs describe-tasks --cluster web --tasks $stopped --query "tasks[?taskDefinitionArn=='$bad'] | [0].[stopCode, containers[0].exitCode]" | tr '\t' ' ')"

one=$(ecs run-task --cluster web --task-definition "$first" --launch-type FARGATE --network-configuration "$network" --started-by hand --query 'tasks[0].taskArn')
aws ecs wait tasks-running --cluster web --tasks "$one"
check "a task runs" RUNNING "$(ecs describe-tasks --cluster web --tasks "$one" --query 'tasks[0].lastStatus')"
check "it is listed by who started it" "$one" "$(ecs list-tasks --cluster web --started-by hand --query 'taskArns[]')"
ecs stop-task --cluster web --task "$one" --reason enough --query task.desiredStatus >/dev/null
job=$(ecs run-task --cluster web --task-definition "$first" --launch-type FARGATE --network-configuration "$network" \
    --overrides '{"containerOverrides":[{"name":"app","command":["sh","-c","exit 3"]}]}' --query 'tasks[0].taskArn')
aws ecs wait tasks-stopped --cluster web --tasks "$one" "$job"
check "it was stopped by hand" "UserInitiated enough" \
    "$(ecs describe-tasks --cluster web --tasks "$one" --query 'tasks[0].[stopCode, stoppedReason]' | tr '\t' ' ')"
check "a job ends with its exit code" 3 "$(ecs describe-tasks --cluster web --tasks "$job" --query 'tasks[0].containers[0].exitCode')"

check "an image has a digest" "sha256:" \
    "$(aws ecr describe-images --repository-name shop --image-ids imageTag=ok-2 --query 'imageDetails[0].imageDigest' --output text | cut -c1-7)"
refused "no such image" ImageNotFoundException aws ecr describe-images --repository-name shop --image-ids imageTag=v1
refused "no such cluster" ClusterNotFoundException aws ecs list-services --cluster nowhere
refused "no such service" ServiceNotFoundException aws ecs update-service --cluster web --service nothing --desired-count 1
refused "delete while it is scaled up" InvalidParameterException aws ecs delete-service --cluster web --service shop
check "what is missing is a failure" MISSING "$(ecs describe-services --cluster web --services nothing --query 'failures[0].reason')"
ecs delete-service --cluster web --service shop --force --query service.status >/dev/null
aws ecs wait services-inactive --cluster web --services shop
refused "it is not active" ServiceNotActiveException aws ecs update-service --cluster web --service shop --desired-count 1
check "deregister" INACTIVE "$(ecs deregister-task-definition --task-definition "$bad" --query taskDefinition.status)"
check "delete a definition" DELETE_IN_PROGRESS "$(ecs delete-task-definitions --task-definitions "$bad" --query 'taskDefinitions[0].status')"
check "delete the cluster" INACTIVE "$(ecs delete-cluster --cluster web --query cluster.status)"
result
