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

# -p in both: the whole workspace would turn on features of the local runner, which the functions do without.

# build_here PACKAGES: the functions as zip files, unoptimised, for this machine.
build_here() {
  local packages=$1 function
  cargo build --quiet --locked "${FUNCTIONS[@]/#/--package=}"
  for function in "${FUNCTIONS[@]}"; do
    mkdir -p "$packages/$function"
    strip -o "$packages/$function/bootstrap" "${CARGO_TARGET_DIR:-target}/debug/$function"
    (cd "$packages/$function" && python3 -m zipfile -c bootstrap.zip bootstrap && rm bootstrap)
  done
}

# build_for_lambda PACKAGES [OPTION...]: the functions as zip files, for release on Lambda's x86_64.
build_for_lambda() {
  local packages=$1
  shift
  PATH="$PWD/$VENV/bin:$PATH" CARGO_TARGET_DIR="$PWD/target/emulated/build" cargo lambda build --quiet --locked \
    --release --target x86_64-unknown-linux-gnu --output-format zip --lambda-dir "$packages" \
    "${FUNCTIONS[@]/#/--package=}" "$@"
}
