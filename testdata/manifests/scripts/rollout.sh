#!/usr/bin/env bash
# Applies one overlay and waits until everything in it is ready; goes back to the last good revision if it is not.
set -euo pipefail

usage() {
  echo "usage: ${0##*/} staging|production [--dry-run]" >&2
  exit 2
}

[[ $# -ge 1 && $# -le 2 ]] || usage
environment=$1
dry_run=false
if [[ $# -eq 2 ]]; then
  [[ $2 == --dry-run ]] || usage
  dry_run=true
fi

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
overlay=$root/overlays/$environment
[[ -f $overlay/kustomization.yaml ]] || usage

# shellcheck source=/dev/null
. "$overlay/rollout.env"

rendered=$(mktemp)
trap 'rm -f -- "$rendered"' EXIT
kubectl kustomize "$overlay" >"$rendered"

if $dry_run; then
  kubectl diff --namespace "$NAMESPACE" --filename "$rendered" || [[ $? -eq 1 ]]
  exit
fi

kubectl apply --server-side --field-manager rollout --filename "$rendered"

read -ra servers <<<"$DEPLOYMENTS"
read -ra databases <<<"$STATEFUL_SETS"
workloads=("${servers[@]/#/deployment/}" "${databases[@]/#/statefulset/}")

for workload in "${workloads[@]}"; do
  if ! kubectl rollout status --namespace "$NAMESPACE" --timeout "$TIMEOUT" "$workload"; then
    echo "$workload is not ready after $TIMEOUT: going back" >&2
    kubectl rollout undo --namespace "$NAMESPACE" "$workload"
    exit 1
  fi
done
echo "$environment runs what $overlay says"
