//! How many clients of the bus connect in a second.

use std::net::SocketAddr;
use std::thread;
use std::time::Instant;

use anyhow::{Result, anyhow};

use super::{admin, broker, median, token, wire};
use crate::programs::HostServer;
use crate::table::Table;
use crate::wire::Login;

/// Connections that are made at once.
const AT_ONCE: usize = 16;

/// Tokens of each client in a round.
const TOKENS_PER_CLIENT: usize = 4;

/// Measures connections that show a token for the first time, those that show it again, and those of the
/// administrator, whose token is no JWT.
pub(super) fn measure(server: &HostServer, clients: &[String], rounds: usize) -> Result<()> {
    let address = broker(server)?;
    let mut rates = [const { Vec::new() }; 3];
    for _ in 0..rounds {
        let clients = clients
            .iter()
            .cycle()
            .take(TOKENS_PER_CLIENT * clients.len());
        let tokens: Result<Vec<_>> = clients.map(|client| token(server, client)).collect();
        let tokens = tokens?;
        rates[0].push(rate(address, &tokens)?);
        rates[1].push(rate(address, &tokens)?);
        rates[2].push(rate(address, &vec![admin(server); tokens.len()])?);
    }
    println!("\nConnections to the bus, one after the other on {AT_ONCE} threads, medians:");
    let mut table = Table::new(&["login", "connections/s", "goal"]);
    let names = [
        ("a token, for the first time", "1000"),
        ("a token, again", "1000"),
        ("the administrator's, no JWT", "-"),
    ];
    for ((name, goal), rates) in names.into_iter().zip(rates) {
        let cells = [
            name.to_owned(),
            format!("{:.0}", median(rates)),
            goal.to_owned(),
        ];
        table.row(cells);
    }
    table.print();
    Ok(())
}

/// Connects with each login once, CONNECT to CONNACK, and closes.
fn rate(address: SocketAddr, logins: &[Login]) -> Result<f64> {
    let begin = Instant::now();
    let part = logins.len().div_ceil(AT_ONCE);
    thread::scope(|scope| {
        let connect = |(thread, logins): (usize, &[Login])| {
            for (number, login) in logins.iter().enumerate() {
                let client = format!("login-{thread}-{number}");
                wire::connect(address, &client, Some(login))?;
            }
            anyhow::Ok(())
        };
        let parts = logins.chunks(part).enumerate();
        let threads: Vec<_> = parts
            .map(|part| scope.spawn(move || connect(part)))
            .collect();
        for thread in threads {
            thread.join().map_err(|_| anyhow!("a thread panicked"))??;
        }
        anyhow::Ok(())
    })?;
    Ok(logins.len() as f64 / begin.elapsed().as_secs_f64())
}
