//! A wire to a registry that counts what goes over it, each way, heads and all.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;

#[derive(Default)]
struct Counts {
    sent: AtomicU64,
    received: AtomicU64,
}

pub struct Wire {
    pub address: SocketAddr,
    counts: Arc<Counts>,
}

impl Wire {
    /// To the registry at `upstream`, for as long as the program runs.
    pub fn to(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let counts = Arc::<Counts>::default();
        let all = Arc::clone(&counts);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(upstream) else { continue };
                relay(&client, &server, &all, |counts| &counts.sent);
                relay(&server, &client, &all, |counts| &counts.received);
            }
        });
        Self { address, counts }
    }

    /// How many bytes have been sent to the registry since the last time, and how many received from it.
    pub fn take(&self) -> (u64, u64) {
        (self.counts.sent.swap(0, SeqCst), self.counts.received.swap(0, SeqCst))
    }
}

fn relay(from: &TcpStream, to: &TcpStream, counts: &Arc<Counts>, which: fn(&Counts) -> &AtomicU64) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    let counts = Arc::clone(counts);
    thread::spawn(move || -> io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        // What was not passed on was not received: who has read enough hangs up.
        while let length @ 1.. = from.read(&mut buffer)? {
            to.write_all(&buffer[..length])?;
            which(&counts).fetch_add(length as u64, SeqCst);
        }
        to.shutdown(Shutdown::Write)
    });
}
