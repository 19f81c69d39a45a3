//! How a program is mended, in the idiom of what runs it.

use crate::diagnosis::finding::{Remedy, When};
use crate::model::process::Runtime;

/// What was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Omission {
    /// A response that this program asked for was not read to its end and not closed.
    Response,
    /// A connection was read to its end, and not closed.
    Close,
    /// A connection that came in is not read any more.
    Read,
    /// A connection failed, the program saw the error, and kept the descriptor.
    Release,
}

/// The change to the program that ends the leak.
pub(crate) fn of(runtime: Runtime, omission: Omission) -> Remedy {
    let text = match omission {
        Omission::Response => response(runtime),
        Omission::Close => close(runtime),
        Omission::Read => read(runtime),
        Omission::Release => release(runtime),
    };
    Remedy::new(When::Fix, text)
}

fn response(runtime: Runtime) -> &'static str {
    match runtime {
        Runtime::Go => {
            "Go: `defer resp.Body.Close()` after the error check, for every response (before the check a nil response would \
             panic; the body of a failed redirect is closed already); a Timeout on the http.Client bounds what is missed"
        }
        Runtime::Java => {
            "Java: try-with-resources around every response and its stream; with java.net.http a BodyHandler that takes the \
             whole body (ofString, discarding), or close() on the stream of ofInputStream"
        }
        Runtime::Python => {
            "Python: `with` around every response, or `response.close()` in a `finally`, above all with requests' \
             stream=True; urllib3 with preload_content=False needs `release_conn()` or `close()`"
        }
        Runtime::Node => {
            "Node.js: consume or destroy every response: `res.resume()` or `res.destroy()`; with fetch \
             `await response.body.cancel()` when the body is not wanted"
        }
        Runtime::DotNet => {
            ".NET: `using` around every HttpResponseMessage and its stream, above all with \
             HttpCompletionOption.ResponseHeadersRead; one HttpClient for the whole program, not one for each request"
        }
        Runtime::Ruby => {
            "Ruby: the block form of Net::HTTP.start, which finishes the connection, or `finish` in an `ensure`"
        }
        Runtime::Php => {
            "PHP: in a program that keeps running, fclose() every stream and let go of every curl handle with unset() \
             (since PHP 8.0 curl_close() does nothing)"
        }
        Runtime::Native => {
            "C, C++, Rust: read every response to its end or give it up, and close() the descriptor on every path, the error \
             paths too; with libcurl call curl_easy_cleanup() or bound its pool with CURLOPT_MAXCONNECTS"
        }
        Runtime::Unknown => {
            "close every response on every path, the error paths too, and read it to its end where the connection is to be \
             used again"
        }
    }
}

fn close(runtime: Runtime) -> &'static str {
    match runtime {
        Runtime::Go => {
            "Go: a net.Conn whose Read returned io.EOF is to be closed: `defer conn.Close()` where it is opened"
        }
        Runtime::Java => {
            "Java: when read() returns -1 the peer has closed: close() the socket, by try-with-resources on every path; with \
             NIO close the channel, cancelling its key does not"
        }
        Runtime::Python => {
            "Python: when recv() returns b'' the peer has closed: `sock.close()`, or `with sock:`; in asyncio \
             `writer.close()` after the reader is at its end"
        }
        Runtime::Node => {
            "Node.js: with allowHalfOpen: true call `socket.end()` on 'end'; without it leave no socket paused, since a \
             paused one never ends"
        }
        Runtime::DotNet => {
            ".NET: when Read returns 0 the peer has closed: Dispose() the socket and its stream, by `using`"
        }
        Runtime::Ruby => "Ruby: when read is at its end (EOFError, nil) the peer has closed: `close` in an `ensure`",
        Runtime::Php => "PHP: when feof() is true or fread() returns '' the peer has closed: fclose() the stream",
        Runtime::Native => {
            "C, C++, Rust: when recv() returns 0 the peer has closed: close() the descriptor (in Rust, drop the stream); \
             treat EPOLLRDHUP and EPOLLHUP as that too"
        }
        Runtime::Unknown => "close the socket as soon as a read reports the end of file, on every path",
    }
}

fn read(runtime: Runtime) -> &'static str {
    match runtime {
        Runtime::Go => {
            "Go: look where the goroutines stand (`/debug/pprof/goroutine?debug=2`, or SIGQUIT, which ends the program); set \
             read deadlines (http.Server: ReadTimeout, IdleTimeout) and `defer conn.Close()`"
        }
        Runtime::Java => {
            "Java: look where the threads stand (`jstack`): a pool that is used up or a blocked selector reads no more; set \
             read timeouts (setSoTimeout) and close what times out"
        }
        Runtime::Python => {
            "Python: look where the threads stand (`py-spy dump`): a blocked worker or event loop reads no more; set \
             timeouts (settimeout, asyncio.wait_for) and close what times out"
        }
        Runtime::Node => {
            "Node.js: look for a blocked event loop and for sockets left paused; set `server.setTimeout()` and destroy what \
             times out"
        }
        Runtime::DotNet => {
            ".NET: look where the threads stand (`dotnet-stack`): blocking calls on the thread pool stop all reading; set \
             timeouts and Dispose() what times out"
        }
        Runtime::Ruby | Runtime::Php => {
            "look where the workers stand: when all are busy or blocked nothing is read; set timeouts and close what times out"
        }
        Runtime::Native => {
            "C, C++, Rust: look where the threads stand (a debugger or `cat /proc/PID/task/*/wchan`): a blocked loop reads no \
             more; with edge-triggered epoll read until EAGAIN or 0, and close() on 0"
        }
        Runtime::Unknown => {
            "look where the program's threads stand: what is blocked reads no more; set timeouts and close what times out"
        }
    }
}

fn release(runtime: Runtime) -> &'static str {
    match runtime {
        Runtime::Go => {
            "Go: a net.Conn whose Read or Write failed is to be closed on every error path: `defer conn.Close()` where it is \
             opened"
        }
        Runtime::Java => {
            "Java: close() the socket or channel on every error path, by try-with-resources; an IOException does not close it"
        }
        Runtime::Python => {
            "Python: `sock.close()` on every error path, by `with sock:` or `finally`; a ConnectionResetError that is caught \
             does not close it"
        }
        Runtime::Node => {
            "Node.js: call `socket.destroy()` on every error path; drop no socket that was opened with a descriptor of one's own"
        }
        Runtime::DotNet => {
            ".NET: Dispose() the socket and its stream on every error path, by `using`; a SocketException does not"
        }
        Runtime::Ruby => {
            "Ruby: `close` in an `ensure`, so that it runs on every error path (Errno::ECONNRESET, IOError)"
        }
        Runtime::Php => "PHP: fclose() or socket_close() on every error path, also when fwrite() or connecting fails",
        Runtime::Native => {
            "C, C++, Rust: close() the descriptor on every error path: after ECONNRESET, EPIPE, ETIMEDOUT and a failed \
             connect() it is still open (in Rust, drop the stream); treat EPOLLERR as that too"
        }
        Runtime::Unknown => "close the socket on every error path: a reset or a failed connect() leaves it open",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNTIMES: [Runtime; 9] = [
        Runtime::Go,
        Runtime::Java,
        Runtime::Python,
        Runtime::Node,
        Runtime::DotNet,
        Runtime::Ruby,
        Runtime::Php,
        Runtime::Native,
        Runtime::Unknown,
    ];

    #[test]
    fn every_runtime_has_its_own_words_for_what_was_left_open() {
        for omission in [Omission::Response, Omission::Release] {
            let mut texts: Vec<String> = RUNTIMES.map(|runtime| of(runtime, omission).text).to_vec();
            texts.sort();
            texts.dedup();
            assert_eq!(texts.len(), RUNTIMES.len());
        }
    }

    #[test]
    fn go_closes_the_body_after_the_error_check() {
        let text = of(Runtime::Go, Omission::Response).text;
        assert!(text.starts_with("Go: `defer resp.Body.Close()` after the error check"), "{text}");
        assert!(text.contains("nil response would panic") && text.contains("failed redirect is closed already"));
    }
}
