//! `URL STATEMENT`: a command that runs one query over `galleria:sql` and prints each
//! value of the first column on its own line.

use std::io::{self, Write};

use galleria_test_guests::platform::galleria::sql::client::Connection;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (url, statement) = (arguments.next(), arguments.next());
    let failed = |error| io::Error::other(format!("{error:?}"));
    let connection = Connection::open(&url.unwrap_or_default()).map_err(failed)?;
    let found = connection.query(&statement.unwrap_or_default(), &[]);
    for row in found.map_err(failed)?.rows {
        writeln!(io::stdout(), "{:?}", row.first())?;
    }
    Ok(())
}
