//! A backend that is asked, stopped and crashed.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

async fn backend() -> (Backend, Control, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let identity = Identity {
        app: "/web".into(),
        task: "web.1".into(),
        version: "v1".into(),
        host: "127.0.0.1".into(),
    };
    let backend = Backend::start(identity, vec![listener]).unwrap();
    let control = backend.control();
    let address = control.addresses()[0];
    (backend, control, address)
}

async fn ask(socket: &mut TcpStream, path: &str) {
    let head = format!("GET {path} HTTP/1.1\r\nHost: web.example\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
}

/// Reads one answer, up to the end of its JSON line.
async fn answer_of(socket: &mut TcpStream) -> String {
    let mut text = String::new();
    while !text.ends_with("}\n") {
        let mut bytes = [0; 4096];
        let count = socket.read(&mut bytes).await.unwrap();
        assert_ne!(count, 0, "closed after {text:?}");
        text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
    }
    text
}

/// On a paused clock a wait for a connection ends as soon as nothing else can happen.
#[tokio::test(start_paused = true)]
async fn one_that_is_cut_off_takes_no_connection_and_ends_like_any_other() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let identity = Identity {
        app: "/web".into(),
        task: "web.1".into(),
        version: "v1".into(),
        host: "127.0.0.1".into(),
    };
    let started = Backend::start_cut_off(identity, vec![listener]).await;
    let mut backend = started.unwrap();
    let control = backend.control();
    let connected = TcpStream::connect(control.addresses()[0]);
    let waited = tokio::time::timeout(Duration::from_secs(3600), connected);
    assert!(waited.await.is_err());
    control.terminate(Duration::from_secs(1));
    assert_eq!(backend.exited().await.cause, Cause::Stopped);
}

#[tokio::test]
async fn it_says_who_it_is_and_what_it_was_asked() {
    let (_backend, control, address) = backend().await;
    let mut socket = TcpStream::connect(address).await.unwrap();
    ask(&mut socket, "/a?b=c").await;
    let text = answer_of(&mut socket).await;
    for part in [
        "\"task\":\"web.1\"",
        "\"path\":\"/a\"",
        "\"host\":\"web.example\"",
        "\"requests\":1",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    control.set_healthy(false);
    ask(&mut socket, "/health").await;
    assert!(answer_of(&mut socket).await.starts_with("HTTP/1.1 503"));
}

#[tokio::test]
async fn a_killed_backend_answers_what_it_accepted_and_refuses_the_rest() {
    let (mut backend, control, address) = backend().await;
    control.hold();
    let mut accepted = TcpStream::connect(address).await.unwrap();
    let mut idle = TcpStream::connect(address).await.unwrap();
    ask(&mut accepted, "/").await;
    control.in_flight(1).await;
    control.terminate(Duration::from_secs(10));
    // The listener closes soon after the signal; until then a connection is still served.
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    // A connection accepted before the signal is still good for a request after it.
    ask(&mut idle, "/late").await;
    control.in_flight(2).await;
    control.release();
    for socket in [&mut accepted, &mut idle] {
        let text = answer_of(socket).await;
        assert!(text.contains("connection: close"), "{text}");
        assert_eq!(socket.read(&mut [0]).await.unwrap(), 0);
    }
    assert_eq!(
        backend.exited().await,
        Exit {
            cause: Cause::Stopped,
            answered: 2,
            cut: 0
        }
    );
}

#[tokio::test]
async fn grace_ends_and_then_requests_are_cut() {
    let (mut backend, control, address) = backend().await;
    control.hold();
    let mut socket = TcpStream::connect(address).await.unwrap();
    ask(&mut socket, "/").await;
    control.in_flight(1).await;
    control.terminate(Duration::from_millis(1));
    assert_eq!(
        backend.exited().await,
        Exit {
            cause: Cause::GraceOver,
            answered: 0,
            cut: 1
        }
    );
}

#[tokio::test]
async fn a_crash_cuts_what_is_in_flight() {
    let (mut backend, control, address) = backend().await;
    control.hold();
    let mut socket = TcpStream::connect(address).await.unwrap();
    ask(&mut socket, "/").await;
    control.in_flight(1).await;
    control.crash();
    assert_eq!(
        backend.exited().await,
        Exit {
            cause: Cause::Crashed,
            answered: 0,
            cut: 1
        }
    );
}
