# Sourced by infra/emulated/run and infra/packages/run, at the repository's root: the functions, and what builds them.

readonly FUNCTIONS=(start-job jobs worker stream sweeper)
readonly PYTHON=target/infra/venv/bin/python SAM_PYTHON=target/infra/sam/bin/python

# The tools of infra/requirements.txt.
install_tools() {
  venv target/infra/venv infra/requirements.txt
}

# The tools of infra/packages/requirements.txt.
install_sam() {
  venv target/infra/sam infra/packages/requirements.txt
}

# venv DIRECTORY REQUIREMENTS: a virtual environment with these packages, made anew when they are others than they were.
venv() {
  local directory=$1 wanted=$2 begun=$SECONDS
  cmp --quiet "$wanted" "$directory/installed.txt" && "$directory/bin/python" -c '' 2>/dev/null && return
  python3 -m venv --clear "$directory"
  "$directory/bin/python" -m pip install --quiet --no-cache-dir --disable-pip-version-check --requirement "$wanted"
  cp "$wanted" "$directory/installed.txt"
  printf 'ok %7d s    the tools are installed\n' $((SECONDS - begun))
}

# build_debug BINARIES: unoptimised, for this machine. --package: the whole workspace would turn on features of the local
# runner, which the functions do without.
build_debug() {
  cargo build --quiet --locked "${FUNCTIONS[@]/#/--package=}"
  collect "${CARGO_TARGET_DIR:-target}/debug" "$1"
}

# build_release BINARIES: by the release profile, for this machine, all five at once: what they have in common is compiled
# once. In a directory of their own: the tests' and these push nothing of one another's out.
build_release() {
  CARGO_TARGET_DIR=target/infra/cargo cargo build --quiet --locked --release "${FUNCTIONS[@]/#/--package=}"
  collect target/infra/cargo/release "$1"
}

# build_sam BINARIES: as `sam deploy` would send them, one after another, each with what it alone is made of. For this
# machine's architecture: for arm64 Rust needs a target that not every machine has.
build_sam() {
  local function
  sam_cli build --template template.yaml --build-dir target/infra/sam-build \
    --parameter-overrides Architecture=x86_64 >target/infra/sam-build.log 2>&1 ||
    { tail -n 40 target/infra/sam-build.log >&2 && return 1; }
  for function in "${FUNCTIONS[@]}"; do
    # StartJobFunction is start-job's name in the template.
    place "target/infra/sam-build/$(sed -E 's/(^|-)(.)/\U\2/g' <<<"$function")Function/bootstrap" "$1/$function"
  done
}

# As a module: a moved checkout's scripts name an interpreter elsewhere. Nothing is told to anybody.
sam_cli() {
  PATH="$PWD/target/infra/sam/bin:$PATH" SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=eu-central-1 \
    CARGO_TARGET_DIR="$PWD/target/infra/sam-cargo" "$SAM_PYTHON" -m samcli "$@"
}

# collect FROM BINARIES
collect() {
  local function
  for function in "${FUNCTIONS[@]}"; do
    place "$1/$function" "$2/$function"
  done
}

# place BINARY DIRECTORY: without its debugger's symbols, under the name that Lambda starts it by.
place() {
  mkdir -p "$2"
  strip -o "$2/bootstrap" "$1"
}
