# The aws CLI, its `wait` commands too, takes a service through its life on the served emulator.
set -euo pipefail
source e2e/suites/ecs/clients.sh
aws_environment
folder=$(mktemp -d)
emulator 20 "$folder"
ecs() { aws ecs "$@" --output text; }
image=123456789012.dkr.ecr.us-east-1.amazonaws.com/shop

network='awsvpcConfiguration={subnets=[subnet-1],securityGroups=[sg-1],assignPublicIp=ENABLED}'

register() {
    local container="{\"name\":\"app\",\"image\":\"$image:$1\",\"portMappings\":[{\"containerPort\":80}]}"
    ecs register-task-definition --family shop --requires-compatibilities FARGATE --network-mode awsvpc --cpu 256 \
        --memory 512 --container-definitions "[$container]" --query taskDefinition.taskDefinitionArn
}
create() {
    ecs create-service --cluster web --service-name shop --task-definition shop --launch-type FARGATE \
        --network-configuration "$network" --desired-count 2 --tags key=team,value=shop --query service.status \
        --deployment-configuration 'deploymentCircuitBreaker={enable=true,rollback=true}'
}
update() { ecs update-service --cluster web --service shop "$@" --query service.status >/dev/null; }
run() {
    ecs run-task --cluster web --task-definition "$first" --launch-type FARGATE --network-configuration "$network" \
        "$@" --query 'tasks[0].taskArn'
}
service() { ecs describe-services --cluster web --services shop --query "services[0].$1" | tr '\t' ' '; }
task() { ecs describe-tasks --cluster web --tasks "$1" --query "tasks[0].$2" | tr '\t' ' '; }

check "one line says that it is ready" 1 "$(wc -l <"$folder/ready")"
check "who calls" 123456789012 "$(aws sts get-caller-identity --query Account --output text)"
check "create a cluster" ACTIVE "$(ecs create-cluster --cluster-name web --query cluster.status)"
first=$(register ok-1)
check "register" arn:aws:ecs:us-east-1:123456789012:task-definition/shop:1 "$first"
check "create a service" ACTIVE "$(create)"
refused "create it twice" InvalidParameterException create
aws ecs wait services-stable --cluster web --services shop
check "stable with two tasks" "2 1" "$(service '[runningCount, length(deployments)]')"
arn=$(service serviceArn)
check "tags" shop "$(ecs list-tags-for-resource --resource-arn "$arn" --query 'tags[?key==`team`].value')"

second=$(register ok-2)
update --task-definition "$second" --desired-count 3
aws ecs wait services-stable --cluster web --services shop
check "the good update runs" "$second" "$(service taskDefinition)"
check "three tasks of it" 3 "$(service 'deployments[0].runningCount')"
check "it is completed" COMPLETED "$(service 'deployments[0].rolloutState')"

bad=$(register crash-1)
good=$(service 'deployments[0].id')
update --task-definition "$bad"
# It is stable again when ECS has gone back.
aws ecs wait services-stable --cluster web --services shop
check "the breaker goes back" "$second" "$(service taskDefinition)"
check "to the old deployment's id" "$good" "$(service 'deployments[0].id')"
newest=$(service currentServiceDeployment)
check "and says so" ROLLBACK_SUCCESSFUL "$(ecs describe-service-deployments --service-deployment-arns "$newest" \
    --query 'serviceDeployments[0].status')"
read -ra stopped < <(ecs list-tasks --cluster web --service-name shop --desired-status STOPPED --query 'taskArns[]')
check "tasks say why they stopped" "EssentialContainerExited 1" "$(ecs describe-tasks --cluster web --tasks "${stopped[@]}" \
    --query "tasks[?taskDefinitionArn=='$bad'] | [0].[stopCode, containers[0].exitCode]" | tr '\t' ' ')"

one=$(run --started-by hand)
aws ecs wait tasks-running --cluster web --tasks "$one"
check "a task runs" RUNNING "$(task "$one" lastStatus)"
check "it is listed by who started it" "$one" "$(ecs list-tasks --cluster web --started-by hand --query 'taskArns[]')"
ecs stop-task --cluster web --task "$one" --reason enough --query task.desiredStatus >/dev/null
job=$(run --overrides '{"containerOverrides":[{"name":"app","command":["sh","-c","exit 3"]}]}')
aws ecs wait tasks-stopped --cluster web --tasks "$one" "$job"
check "it was stopped by hand" "UserInitiated enough" "$(task "$one" '[stopCode, stoppedReason]')"
check "a job ends with its exit code" 3 "$(task "$job" 'containers[0].exitCode')"

role=$(aws sts assume-role --role-arn arn:aws:iam::123456789012:role/deployer --role-session-name ci --output text \
    --query AssumedRoleUser.Arn)
check "a role can be taken" arn:aws:sts::123456789012:assumed-role/deployer/ci "$role"
digest=$(aws ecr describe-images --repository-name shop --image-ids imageTag=ok-2 --output text \
    --query 'imageDetails[0].imageDigest')
check "an image has a digest" sha256: "${digest:0:7}"
refused "no such image" ImageNotFoundException aws ecr describe-images --repository-name shop --image-ids imageTag=v1
refused "no such cluster" ClusterNotFoundException aws ecs list-services --cluster nowhere
refused "no such service" ServiceNotFoundException aws ecs delete-service --cluster web --service nothing
refused "delete while it is scaled up" InvalidParameterException aws ecs delete-service --cluster web --service shop
check "what is missing is a failure" MISSING \
    "$(ecs describe-services --cluster web --services nothing --query 'failures[0].reason')"
ecs delete-service --cluster web --service shop --force --query service.status >/dev/null
aws ecs wait services-inactive --cluster web --services shop
refused "it is not active" ServiceNotActiveException update --desired-count 1
check "deregister" INACTIVE "$(ecs deregister-task-definition --task-definition "$bad" --query taskDefinition.status)"
check "delete a definition" DELETE_IN_PROGRESS \
    "$(ecs delete-task-definitions --task-definitions "$bad" --query 'taskDefinitions[0].status')"
check "delete the cluster" INACTIVE "$(ecs delete-cluster --cluster web --query cluster.status)"
result
