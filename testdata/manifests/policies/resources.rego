# Checked before a rollout: conftest test --policy policies/ rendered.yaml
package main

import rego.v1

workloads := {"Deployment", "StatefulSet"}

containers contains container if {
	input.kind in workloads
	some container in input.spec.template.spec.containers
}

deny contains message if {
	some container in containers
	not container.resources.limits.memory
	message := sprintf("%s %s: container %s has no memory limit", [input.kind, input.metadata.name, container.name])
}

deny contains message if {
	some container in containers
	not container.securityContext.allowPrivilegeEscalation == false
	message := sprintf("%s %s: container %s may gain privileges", [input.kind, input.metadata.name, container.name])
}
