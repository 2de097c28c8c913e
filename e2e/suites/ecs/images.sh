# Our logins to ECR and our builds by CodeBuild against moto, as far as it plays them: its builds succeed when they are looked at.
set -euo pipefail
source e2e/suites/ecs/clients.sh
aws_environment
moto

aws codebuild create-project --name shop --service-role arn:aws:iam::123456789012:role/build --artifacts type=NO_ARTIFACTS \
    --source type=GITHUB,location=https://github.com/example/shop.git \
    --environment type=LINUX_CONTAINER,image=aws/codebuild/standard:7.0,computeType=BUILD_GENERAL1_SMALL,privilegedMode=true >/dev/null
commit=$(printf shop | sha1sum | cut -d ' ' -f 1)
said=$("$MOTO_IMAGES" shop "$commit") || true
grep -v '^RESULT ' <<<"$said" || true
[[ $(tail -n 1 <<<"$said") =~ ^RESULT\ passed=([0-9]+)\ failed=([0-9]+)$ ]] || { echo "no result: $said"; exit 1; }
passed=${BASH_REMATCH[1]} failed=${BASH_REMATCH[2]}

# What CodeBuild was told, by another client of it.
ids=$(aws codebuild list-builds-for-project --project-name shop --query ids --output text)
check "one build for each start" 2 "$(wc -w <<<"$ids")"
for id in $ids; do
    check "$id is of the commit" "$commit" \
        "$(aws codebuild batch-get-builds --ids "$id" --query 'builds[0].sourceVersion' --output text)"
done
result
