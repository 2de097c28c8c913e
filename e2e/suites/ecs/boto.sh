# boto3 with its own waiters takes services through their lives on the served emulator.
set -euo pipefail
source e2e/suites/ecs/clients.sh
aws_environment
folder=$(mktemp -d)
emulator 10 "$folder"
python e2e/suites/ecs/boto.py
