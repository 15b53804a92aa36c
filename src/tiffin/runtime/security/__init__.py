"""What a container may do: capabilities, seccomp, devices, masked paths, AppArmor and SELinux.

Everything here decides and returns values; the launcher carries them out. `default_profile.py` is the seccomp policy.
"""
