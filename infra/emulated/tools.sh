# Sourced by infra/emulated/run and infra/sizes, at the repository's root.

readonly FUNCTIONS=(start-job jobs worker stream sweeper)
readonly VENV=target/emulated/venv PYTHON=target/emulated/venv/bin/python

# The tools of requirements.txt, in a virtual environment.
install_tools() {
  local wanted=infra/emulated/requirements.txt
  cmp --quiet "$wanted" "$VENV/installed.txt" && "$PYTHON" -c '' 2>/dev/null && return
  local begun=$SECONDS
  python3 -m venv --clear "$VENV"
  "$PYTHON" -m pip install --quiet --no-cache-dir --disable-pip-version-check --requirement "$wanted"
  cp "$wanted" "$VENV/installed.txt"
  printf 'ok %7d s    the tools are installed\n' $((SECONDS - begun))
}

# build_functions PACKAGES CARGO_TARGET [OPTION...]: the functions as zip files for Lambda on x86_64, linked with zig.
build_functions() {
  local packages=$1 target=$2
  shift 2
  # -p: the whole workspace would turn on features of the local runner.
  PATH="$PWD/$VENV/bin:$PATH" CARGO_TARGET_DIR="$PWD/$target" nice -n 10 cargo lambda build --quiet --locked \
    --target x86_64-unknown-linux-gnu --output-format zip --lambda-dir "$packages" \
    "${FUNCTIONS[@]/#/--package=}" "$@"
}
