//! A wire to a registry that counts what goes over it, each way, heads and all; as fast as it can, or like a longer line.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

#[derive(Default)]
struct Counts {
    sent: AtomicU64,
    received: AtomicU64,
}

/// What a line is like.
#[derive(Clone, Copy, Default)]
pub struct Line {
    /// How long it takes until an answer to something can come, beside what the registry takes.
    pub round_trip: Duration,
    /// How many bytes a second each connection gets, each way; any number, where it is 0.
    pub rate: u32,
}

pub struct Wire {
    pub address: SocketAddr,
    counts: Arc<Counts>,
}

impl Wire {
    /// To the registry at `upstream`, for as long as the program runs.
    pub fn to(upstream: SocketAddr, line: Line) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let counts = Arc::<Counts>::default();
        let all = Arc::clone(&counts);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(upstream) else { continue };
                let is_asked = Arc::new(AtomicBool::new(false));
                let [up, down] = [true, false].map(|is_up| Turns {
                    line,
                    is_up,
                    is_asked: Arc::clone(&is_asked),
                    there: Instant::now(),
                });
                relay(&client, &server, up, &all, |counts| &counts.sent);
                relay(&server, &client, down, &all, |counts| &counts.received);
            }
        });
        Self { address, counts }
    }

    /// How many bytes have been sent to the registry since the last time, and how many received from it.
    pub fn take(&self) -> (u64, u64) {
        (self.counts.sent.swap(0, SeqCst), self.counts.received.swap(0, SeqCst))
    }
}

/// Who spoke last on a connection.
struct Turns {
    line: Line,
    is_up: bool,
    is_asked: Arc<AtomicBool>,
    /// When the last of what has been passed on is at the other end.
    there: Instant,
}

impl Turns {
    /// Waits for as long as these bytes take on the line.
    fn pass(&mut self, length: usize) {
        let is_question = self.is_up && !self.is_asked.swap(true, SeqCst);
        if is_question {
            thread::sleep(self.line.round_trip);
        } else if !self.is_up {
            self.is_asked.store(false, SeqCst);
        }
        if self.line.rate > 0 {
            let now = Instant::now();
            // A wait that was a little longer than it should be is made up for by the next ones.
            let begun = if self.there + Duration::from_millis(5) < now { now } else { self.there };
            self.there = begun + Duration::from_secs(1) * length as u32 / self.line.rate;
            let ahead = self.there.saturating_duration_since(Instant::now());
            if ahead > Duration::from_millis(2) {
                thread::sleep(ahead);
            }
        }
    }
}

fn relay(from: &TcpStream, to: &TcpStream, mut turns: Turns, counts: &Arc<Counts>, which: fn(&Counts) -> &AtomicU64) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    let counts = Arc::clone(counts);
    thread::spawn(move || -> io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        // To connect takes one.
        thread::sleep(turns.line.round_trip);
        // What was not passed on was not received: who has read enough hangs up.
        while let length @ 1.. = from.read(&mut buffer)? {
            turns.pass(length);
            to.write_all(&buffer[..length])?;
            which(&counts).fetch_add(length as u64, SeqCst);
        }
        to.shutdown(Shutdown::Write)
    });
}
