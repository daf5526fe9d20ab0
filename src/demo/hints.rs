//! What a reader can paste into another terminal while the demo stays up: whole lines, nothing before or after them.

use std::io;

use super::files::{Files, Passwords};
use super::screen::Screen;

/// Prints the lines.
pub(super) fn print(screen: &Screen, files: &Files, port: u16) -> io::Result<()> {
    let Passwords { admin, app, readonly } = &files.passwords;
    let ca = files.ca();
    let ca = ca.display();
    screen.title("Try it from another terminal")?;
    screen.line(format_args!("REDISCLI_AUTH={app} redis-cli --tls --cacert {ca} -p {port} --user app"))?;
    screen.line(format_args!(
        "redis-benchmark --tls --cacert {ca} -p {port} --user app -a {app} -c 50 -P 16 -n 200000 -t set,get"
    ))?;
    screen.line(format_args!(
        "\
python3 - <<'EOF'
import redis  # pip install redis
r = redis.Redis(host=\"localhost\", port={port}, ssl=True, ssl_ca_certs=\"{ca}\",
                username=\"app\", password=\"{app}\", decode_responses=True)
print(r.set(\"app:python\", \"hello\"), r.get(\"app:python\"))
EOF
"
    ))?;
    let (config, users) = (files.config(), files.users());
    screen.named("passwords", format_args!("app {app}   readonly {readonly}   admin {admin}"))?;
    screen.named("rules", format_args!("{} and {}", users.display(), config.display()))?;
    screen.named("reload", format_args!("kill -HUP {}", std::process::id()))?;
    screen.named("stop", "Ctrl-C")
}
