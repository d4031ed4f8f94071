# Sourced by infra/emulated/run, at the repository's root.

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

# build_here PACKAGES: the functions as zip files, unoptimised, for this machine. -p: the whole workspace would turn on
# features of the local runner, which the functions do without.
build_here() {
  local packages=$1 function
  cargo build --quiet --locked "${FUNCTIONS[@]/#/--package=}"
  for function in "${FUNCTIONS[@]}"; do
    pack "$packages/$function" "${CARGO_TARGET_DIR:-target}/debug/$function"
  done
}

# build_for_lambda PACKAGES: the functions as zip files, as `sam build` makes them for release.
build_for_lambda() {
  local packages=$1 function
  # shellcheck source=infra/packages/tools.sh
  source infra/packages/tools.sh
  install_sam
  sam_build
  for function in "${FUNCTIONS[@]}"; do
    # StartJobFunction is start-job's name in the template.
    pack "$packages/$function" "target/packages/build/$(sed -E 's/(^|-)(.)/\U\2/g' <<<"$function")Function/bootstrap"
  done
}

# pack DIRECTORY BINARY
pack() {
  mkdir -p "$1"
  strip -o "$1/bootstrap" "$2"
  (cd "$1" && python3 -m zipfile -c bootstrap.zip bootstrap && rm bootstrap)
}
