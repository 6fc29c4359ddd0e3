//! Log-like documents, the same for the same seed on every machine.

use std::fmt::Write;

/// SplitMix64: numbers that depend on the seed alone.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u64) as usize]
    }
}

const LEVELS: [&str; 8] = ["INFO", "INFO", "INFO", "INFO", "DEBUG", "DEBUG", "WARN", "ERROR"];
const SERVICES: [&str; 6] = ["checkout", "catalog", "payments", "search", "identity", "shipping"];
const METHODS: [&str; 5] = ["GET", "GET", "GET", "POST", "PUT"];
const STATUSES: [&str; 8] = ["200", "200", "200", "200", "201", "304", "404", "500"];
const AGENTS: [&str; 3] = [
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 Version/17.4 Mobile Safari/604.1",
    "okhttp/4.12.0",
];
const STEMS: [&str; 16] = [
    "request", "order", "cache", "index", "user", "token", "queue", "batch", "shard", "retry", "limit",
    "commit", "stream", "node", "lease", "price",
];
const ENDINGS: [&str; 8] = ["", "ed", "ing", "s", "Id", "Count", "Timeout", "Error"];
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// An id as servers make them: fifteen bytes in Base64.
pub(crate) fn id(dice: &mut Dice, out: &mut String) {
    for _ in 0..20 {
        out.push(char::from(ALPHABET[dice.below(64) as usize]));
    }
}

/// A log record of about `size` bytes.
pub(crate) fn document(dice: &mut Dice, n: u64, size: usize, out: &mut String) {
    let start = out.len();
    let service = dice.pick(&SERVICES);
    let (host, subnet) = (dice.below(60), dice.below(4));
    let (second, milli) = (n / 12 % 86_400, dice.below(1000));
    // Writing into a string cannot fail.
    let _ = write!(
        out,
        "{{\"@timestamp\":\"2024-05-{:02}T{:02}:{:02}:{:02}.{milli:03}Z\",\"log\":{{\"level\":\"{}\",\"logger\":\"com.example.shop.{service}.{}Service\"}},\
         \"service\":{{\"name\":\"{service}\",\"version\":\"4.{}.2\",\"environment\":\"production\"}},\
         \"host\":{{\"name\":\"ip-10-3-{subnet}-{host}.internal\",\"ip\":\"10.3.{subnet}.{host}\"}},\
         \"trace\":{{\"id\":\"{:016x}{:016x}\",\"span\":\"{:016x}\"}},\
         \"http\":{{\"method\":\"{}\",\"path\":\"/api/v2/{}/{}\",\"status\":{},\"bytes\":{},\"duration_ms\":{}.{}}},\
         \"user\":{{\"id\":\"u-{}\",\"agent\":\"{}\"}},\"message\":\"",
        n / 1_036_800 % 28 + 1,
        second / 3600,
        second / 60 % 60,
        second % 60,
        dice.pick(&LEVELS),
        dice.pick(&STEMS),
        dice.below(20),
        dice.next(),
        dice.next(),
        dice.next(),
        dice.pick(&METHODS),
        dice.pick(&STEMS),
        dice.below(1_000_000),
        dice.pick(&STATUSES),
        dice.below(40_000),
        dice.below(900),
        dice.below(1000),
        dice.below(200_000),
        dice.pick(&AGENTS),
    );
    let message = size.min(1024).saturating_sub(32);
    while out.len() - start < message {
        // Few words are frequent, many are rare.
        let rare = dice.below(4) == 0;
        let (stem, ending) = (dice.pick(&STEMS), dice.pick(&ENDINGS));
        let _ = if rare {
            write!(out, "{stem}={:x} ", dice.below(1 << 24))
        } else {
            write!(out, "{stem}{ending} ")
        };
    }
    out.push('"');
    if size > 2048 {
        out.push_str(",\"error\":{\"stack_trace\":\"");
        while out.len() - start < size - 32 {
            let (a, b, c) = (dice.pick(&SERVICES), dice.pick(&STEMS), dice.pick(&ENDINGS));
            let line = dice.below(800);
            let _ =
                write!(out, "\\tat com.example.shop.{a}.{b}{c}.{}(Source.java:{line})\\n", dice.pick(&STEMS));
        }
        out.push_str("\"}");
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_json_of_the_wanted_size_and_the_same_each_time() {
        for size in [1000, 20_000] {
            let make = || {
                let (mut dice, mut out) = (Dice::new(7), String::new());
                document(&mut dice, 3, size, &mut out);
                out
            };
            let text = make();
            assert_eq!(text, make());
            assert!(text.len().abs_diff(size) < size / 10, "{}", text.len());
            assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
        }
    }
}
