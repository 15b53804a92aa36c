"""From a container's record to a running process: OCI spec, plan, launcher; attach and exec afterwards."""
