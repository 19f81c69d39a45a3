//! The summary of `ss -s`: counts without sockets.

/// Whether the line is one of it.
pub(super) fn is_line(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let Some(first) = words.next() else { return false };
    let rest: Vec<&str> = words.collect();
    let is_count = |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    match first {
        "Total:" => rest.first().is_some_and(is_count),
        "TCP:" => rest.get(1).is_some_and(|word| word.starts_with("(estab")),
        "Transport" => rest.first() == Some(&"Total"),
        "*" | "RAW" | "UDP" | "TCP" | "INET" | "FRAG" => {
            rest.len() == 3 && rest.iter().all(|word| is_count(word) || *word == "-")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_line;

    #[test]
    fn the_lines_of_both_versions_are_known() {
        for line in [
            "Total: 181",
            "Total: 181 (kernel 0)",
            "TCP:   10 (estab 2, closed 0, orphaned 0, synrecv 0, timewait 0/0), ports 0",
            "Transport Total     IP        IPv6",
            "*\t  0         -         -",
            "RAW\t  1         0         1",
            "FRAG\t  0         0         0",
        ] {
            assert!(is_line(line), "{line}");
        }
        for line in ["", "TCP", "TCP: many", "RAW 1 2 x", "Total: none", "ESTAB 0 0 *:80 *:*"] {
            assert!(!is_line(line), "{line}");
        }
    }
}
