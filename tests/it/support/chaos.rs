//! A network that misbehaves when told to: a proxy on a port of its own, before a server's Unix socket or port.
//!
//! What it does to bytes can be changed while connections are open: delay, tiny pieces, few bytes a second, nothing at
//! all. A connection can be cut at an exact byte of its answers, found by a [`Chaos::cut`] mark in what was asked.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

/// How often a lane that holds bytes back looks whether it still should.
const LOOK: Duration = Duration::from_millis(5);

/// Who is behind the proxy.
#[derive(Clone)]
pub enum Server {
    /// A port of 127.0.0.1.
    Port(u16),
    Unix(PathBuf),
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In order (FIN).
    Fin,
    /// With a reset (RST), as by a machine that knows nothing of the connection.
    Reset,
}

/// What happens to the bytes of one direction.
#[derive(Clone, Copy, Default)]
pub struct Lane {
    /// Before each chunk.
    pub delay: Duration,
    /// Longest piece that is written at once.
    pub piece: Option<usize>,
    /// Bytes a second of each connection.
    pub rate: Option<usize>,
    /// Nothing is read any more; what is under way stays there until this is over.
    pub holds: bool,
    /// Bytes are read, and go nowhere.
    pub swallows: bool,
    /// Each connection ends after so many bytes.
    pub limit: Option<(usize, End)>,
}

#[derive(Default)]
struct Weather {
    up: Lane,
    down: Lane,
    /// New connections are closed at once.
    refuses: bool,
    cuts: HashMap<Vec<u8>, (usize, End)>,
    /// The current connections end when this is another number than at their beginning.
    storm: usize,
}

#[derive(Default)]
struct State {
    weather: Mutex<Weather>,
    accepted: AtomicUsize,
    over: AtomicBool,
}

pub struct Chaos {
    port: u16,
    state: Arc<State>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Chaos {
    /// Starts a proxy that passes everything.
    pub fn before(server: Server) -> Chaos {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        // Connections inherit it: what is held back is soon felt on the other side.
        SockRef::from(&listener).set_recv_buffer_size(64 * 1024).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let shared = state.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let listener = runtime.block_on(async { TcpListener::from_std(listener) }).unwrap();
            tokio::task::LocalSet::new().block_on(&runtime, accept(listener, server, shared));
        });
        Chaos { port, state, thread: Some(thread) }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many connections there have been.
    pub fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::SeqCst)
    }

    /// What happens from now on to bytes on their way to the server.
    pub fn up(&self, lane: Lane) {
        self.state.weather.lock().unwrap().up = lane;
    }

    /// What happens from now on to bytes on their way from the server.
    pub fn down(&self, lane: Lane) {
        self.state.weather.lock().unwrap().down = lane;
    }

    /// Whether new connections are closed at once.
    pub fn refuse(&self, refuses: bool) {
        self.state.weather.lock().unwrap().refuses = refuses;
    }

    /// Ends the connection that carries `mark` to the server, after `bytes` further bytes of answers. Works once.
    pub fn cut(&self, mark: &str, bytes: usize, end: End) {
        self.state.weather.lock().unwrap().cuts.insert(mark.as_bytes().to_vec(), (bytes, end));
    }

    /// Ends all connections.
    pub fn end_all(&self) {
        self.state.weather.lock().unwrap().storm += 1;
    }
}

impl Drop for Chaos {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::SeqCst);
        let _ = self.thread.take().unwrap().join();
    }
}

async fn accept(listener: TcpListener, server: Server, state: Arc<State>) {
    while !state.over.load(Ordering::SeqCst) {
        let Ok(Ok((client, _))) = tokio::time::timeout(LOOK, listener.accept()).await else { continue };
        state.accepted.fetch_add(1, Ordering::SeqCst);
        if !state.weather.lock().unwrap().refuses {
            tokio::task::spawn_local(serve(client, server.clone(), state.clone()));
        }
    }
}

async fn serve(mut client: TcpStream, server: Server, state: Arc<State>) {
    client.set_nodelay(true).unwrap();
    let end = match server {
        Server::Port(port) => match TcpStream::connect(("127.0.0.1", port)).await {
            Ok(mut server) => {
                server.set_nodelay(true).unwrap();
                let end = join(&mut client, &mut server, &state).await;
                finish(&server, end);
                end
            }
            Err(_) => End::Fin,
        },
        Server::Unix(path) => match UnixStream::connect(path).await {
            Ok(mut server) => join(&mut client, &mut server, &state).await,
            Err(_) => End::Fin,
        },
    };
    finish(&client, end);
}

/// Makes the end that follows when the stream is dropped the right one.
fn finish(stream: &TcpStream, end: End) {
    let linger = (end == End::Reset).then_some(Duration::ZERO);
    let _ = SockRef::from(stream).set_linger(linger);
}

/// Carries bytes both ways, until one side ends the connection or it is to end.
async fn join(
    client: &mut TcpStream,
    server: &mut (impl AsyncRead + AsyncWrite + Unpin),
    state: &State,
) -> End {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_server, mut to_server) = tokio::io::split(server);
    // Bytes of answers that may still pass, and what comes then.
    let left = Mutex::new(None);
    let storm = state.weather.lock().unwrap().storm;
    let blown = async {
        while state.weather.lock().unwrap().storm == storm && !state.over.load(Ordering::SeqCst) {
            tokio::time::sleep(LOOK).await;
        }
        End::Fin
    };
    tokio::select! {
        end = carry(&mut from_client, &mut to_server, state, &left, true) => end.unwrap_or(End::Fin),
        end = carry(&mut from_server, &mut to_client, state, &left, false) => end.unwrap_or(End::Fin),
        end = blown => end,
    }
}

async fn carry(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    state: &State,
    left: &Mutex<Option<(usize, End)>>,
    up: bool,
) -> io::Result<End> {
    let lane = || {
        let weather = state.weather.lock().unwrap();
        if up { weather.up } else { weather.down }
    };
    let mut chunk = vec![0; 64 * 1024];
    let mut passed = 0usize;
    loop {
        while lane().holds {
            tokio::time::sleep(LOOK).await;
        }
        let count = from.read(&mut chunk).await?;
        if count == 0 {
            return Ok(End::Fin);
        }
        if up {
            let cuts = &mut state.weather.lock().unwrap().cuts;
            let mark = cuts.keys().find(|mark| contains(&chunk[..count], mark)).cloned();
            if let Some(mark) = mark {
                *left.lock().unwrap() = cuts.remove(&mark);
            }
        }
        let now = lane();
        tokio::time::sleep(now.delay).await;
        while lane().holds {
            tokio::time::sleep(LOOK).await;
        }
        if now.swallows {
            continue;
        }
        let cut = if up { None } else { *left.lock().unwrap() };
        let limit = now.limit.map(|(bytes, end)| (bytes.saturating_sub(passed), end));
        let bound = cut.into_iter().chain(limit).min_by_key(|(bytes, _)| *bytes);
        let passes = bound.map_or(count, |(bytes, _)| bytes.min(count));
        write(to, &chunk[..passes], now).await?;
        passed += passes;
        if let (Some((bytes, end)), false) = (cut, up) {
            *left.lock().unwrap() = Some((bytes - passes, end));
        }
        if let Some((_, end)) = bound.filter(|(bytes, _)| *bytes == passes) {
            return Ok(end);
        }
    }
}

async fn write(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8], lane: Lane) -> io::Result<()> {
    // Fifty pieces a second are a steady trickle.
    let slow = lane.rate.map(|rate| (rate / 50).max(1));
    let piece = lane.piece.into_iter().chain(slow).min().unwrap_or(usize::MAX);
    for piece in bytes.chunks(piece) {
        to.write_all(piece).await?;
        to.flush().await?;
        match lane.rate {
            Some(rate) => tokio::time::sleep(Duration::from_secs_f64(piece.len() as f64 / rate as f64)).await,
            None => tokio::task::yield_now().await,
        }
    }
    Ok(())
}

fn contains(bytes: &[u8], mark: &[u8]) -> bool {
    bytes.windows(mark.len()).any(|window| window == mark)
}
