# Our client drives moto, which knows nothing of ours: the calls of a deploy have the shapes that others expect.
set -euo pipefail
source e2e/suites/ecs/clients.sh
aws_environment
moto

aws ecs create-cluster --cluster-name web >/dev/null
aws ecr create-repository --repository-name shop >/dev/null
registry=$(aws ecr describe-repositories --repository-names shop --query 'repositories[0].repositoryUri' --output text)
for tag in one two; do
    digest=$(printf %s "$tag" | sha256sum | cut -d ' ' -f 1)
    manifest='{"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json", "layers": [],
        "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": 2, "digest": "sha256:'$digest'"}}'
    aws ecr put-image --repository-name shop --image-tag "$tag" --image-manifest "$manifest" >/dev/null
done
container='{"name": "app", "image": "'$registry':one", "memory": 128, "environment": [{"name": "MODE", "value": "live"}]}'
aws ecs register-task-definition --family shop --cpu 256 --memory 512 --tags key=team,value=shop \
    --container-definitions "[$container]" >/dev/null
aws ecs create-service --cluster web --service-name shop --task-definition shop:1 --desired-count 2 >/dev/null
"$MOTO_CLIENT" web shop app "$registry:two"
