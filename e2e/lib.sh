# Sourced by the suites.

# bin NAME quick|full: builds a binary of the package `e2e` and prints its path.
#
# With the features of the whole workspace, so that the tests' build is used again; `--full` is optimised, because its
# counts are large.
bin() {
    local name=$1 profile=dev folder=debug
    if [[ $2 == full ]]; then profile=release folder=release; fi
    if [[ ! -f e2e/src/bin/$name.rs && ! -f e2e/src/bin/$name/main.rs ]]; then
        echo "MISSING the binary $name of the package e2e"
        return 1
    fi
    cargo build --quiet --locked --workspace --all-features --profile "$profile" --bin "$name" >&2 || return 2
    echo "${CARGO_TARGET_DIR:-target}/$folder/$name"
}

# suite_bin NAME quick|full: runs it in place of the suite; its last line is the RESULT line.
suite_bin() {
    local path status=0
    path=$(bin "$1" "$2") || status=$?
    case $status in
        0) exec "$path" "--$2" ;;
        1) echo "$path"; exit 0 ;;
        *) echo "$1 does not compile"; exit 1 ;;
    esac
}
