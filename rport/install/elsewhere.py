"""What to do where there is no systemd to install a service into."""

from rport.install.units import Program

_MACOS = """\
{name} installs itself with systemd only. On macOS, launchd runs it from /Library/LaunchDaemons/rport.{name}.plist
(owner root:wheel, mode 0644):

<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict>
  <key>Label</key><string>rport.{name}</string>
  <key>ProgramArguments</key>
  <array><string>/opt/rport/bin/{name}</string><string>--config</string><string>{config}</string></array>
  <key>UserName</key><string>_{name}</string>
  <key>EnvironmentVariables</key><dict><key>RPORT_STATE_DIR</key><string>{state}</string></dict>
  <key>RunAtLoad</key><true/>
  <key>KeepAlive</key><true/>
  <key>StandardErrorPath</key><string>/var/log/{name}.log</string>
</dict></plist>

Then: sudo launchctl bootstrap system /Library/LaunchDaemons/rport.{name}.plist
Before that, make the user _{name} (sysadminctl -addUser _{name} -system), {state} (its own, mode 0700) and
{config}; `{name} config example` prints one to fill in."""

_WINDOWS = """\
{name} installs itself with systemd only. On Windows a program needs a wrapper to be a service, such as NSSM:

  nssm install {name} "C:\\Program Files\\rport\\Scripts\\{name}.exe" --config "C:\\ProgramData\\rport\\{name}.toml"
  nssm set {name} ObjectName "NT AUTHORITY\\LocalService"
  nssm set {name} AppEnvironmentExtra "RPORT_STATE_DIR=C:\\ProgramData\\rport\\{name}"
  nssm start {name}

or, without one, a task that starts with the machine:

  schtasks /create /tn {name} /sc onstart /ru "NT AUTHORITY\\LocalService" ^
    /tr "\\"C:\\Program Files\\rport\\Scripts\\{name}.exe\\" --config C:\\ProgramData\\rport\\{name}.toml"

`{name} config example` prints a configuration file to fill in. Let only administrators and LocalService read it."""

_OTHER = "{name} installs itself with systemd only; start it as `{name} --config {config}`, not as root"


def explain(program: Program, platform: str) -> int:
    """Prints it. The exit code says that nothing was installed."""
    text = {"darwin": _MACOS, "win32": _WINDOWS}.get(platform, _OTHER)
    print(text.format(name=program.name, config=program.config, state=program.state))
    return 1
