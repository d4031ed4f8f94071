# Sourced by infra/packages/run and infra/emulated/run, at the repository's root.

readonly SAM_VENV=target/packages/venv SAM_PYTHON=target/packages/venv/bin/python

# The tools of requirements.txt, in a virtual environment.
install_sam() {
  local wanted=infra/packages/requirements.txt
  cmp --quiet "$wanted" "$SAM_VENV/installed.txt" && "$SAM_PYTHON" -c '' 2>/dev/null && return
  local begun=$SECONDS
  python3 -m venv --clear "$SAM_VENV"
  "$SAM_PYTHON" -m pip install --quiet --no-cache-dir --disable-pip-version-check --requirement "$wanted"
  cp "$wanted" "$SAM_VENV/installed.txt"
  printf 'ok %7d s    the tools are installed\n' $((SECONDS - begun))
}

# As a module: a moved checkout's scripts name an interpreter elsewhere. Nothing is told to anybody.
sam_cli() {
  PATH="$PWD/$SAM_VENV/bin:$PATH" SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=eu-central-1 \
    CARGO_TARGET_DIR="$PWD/target/packages/cargo" "$SAM_PYTHON" -m samcli "$@"
}

# sam_build [FUNCTION...]: the functions of the template, or one of them, as `sam deploy` would send them. For this
# machine's architecture: for arm64 Rust needs a target that not every machine has.
sam_build() {
  sam_cli build "$@" --template template.yaml --build-dir target/packages/build \
    --parameter-overrides Architecture=x86_64 >target/packages/sam-build.log 2>&1 ||
    { tail -n 40 target/packages/sam-build.log >&2 && return 1; }
}
