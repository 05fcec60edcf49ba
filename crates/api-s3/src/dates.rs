//! Dates as S3 writes and reads them: HTTP dates, ISO 8601 in listings, and SigV4's basic form. UTC only;
//! the proleptic Gregorian calendar by Howard Hinnant's day counting. Not a general date library.

use types::UnixMillis;

const DAY_NAMES: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTH_NAMES: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAY_SECONDS: u64 = 86_400;

/// A moment, taken apart. Fields are in their usual ranges.
struct Civil {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
    weekday: usize,
}

fn civil(seconds: u64) -> Civil {
    let days = seconds / DAY_SECONDS;
    let time = seconds % DAY_SECONDS;
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    Civil {
        year: year_of_era + era * 400 + u64::from(month <= 2),
        month,
        day: day_of_year - (153 * shifted + 2) / 5 + 1,
        hour: time / 3600,
        minute: time / 60 % 60,
        second: time % 60,
        weekday: (days % 7) as usize,
    }
}

/// Seconds since 1970 of a date from 1970 to 9999; `None` when a field is out of range.
fn seconds_of(year: u64, month: u64, day: u64, hour: u64, minute: u64, second: u64) -> Option<u64> {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let month_days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => return None,
    };
    if !(1970..=9999).contains(&year) || day == 0 || day > month_days {
        return None;
    }
    // A leap second is read as the second before it.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let shifted_year = year - u64::from(month <= 2);
    let era = shifted_year / 400;
    let year_of_era = shifted_year % 400;
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    Some(days * DAY_SECONDS + hour * 3600 + minute * 60 + second.min(59))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`; whole seconds.
pub(crate) fn http_date(at: UnixMillis) -> String {
    let c = civil(at.seconds());
    let weekday = DAY_NAMES.get(c.weekday).copied().unwrap_or_default();
    let month = MONTH_NAMES.get(c.month as usize - 1).copied().unwrap_or_default();
    format!(
        "{weekday}, {:02} {month} {:04} {:02}:{:02}:{:02} GMT",
        c.day, c.year, c.hour, c.minute, c.second
    )
}

/// `1994-11-06T08:49:37.000Z`; whole seconds, so that a listing and a `Last-Modified` header agree.
pub(crate) fn iso8601(at: UnixMillis) -> String {
    let c = civil(at.seconds());
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.000Z",
        c.year, c.month, c.day, c.hour, c.minute, c.second
    )
}

/// `19941106T084937Z`.
pub(crate) fn amz_date(at: UnixMillis) -> String {
    let c = civil(at.seconds());
    format!("{:04}{:02}{:02}T{:02}{:02}{:02}Z", c.year, c.month, c.day, c.hour, c.minute, c.second)
}

/// The inverse of [`amz_date`]; seconds since 1970.
pub(crate) fn parse_amz_date(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    if bytes.len() != 16 || bytes.get(8) != Some(&b'T') || bytes.get(15) != Some(&b'Z') {
        return None;
    }
    seconds_of(
        digits(text.get(0..4)?)?,
        digits(text.get(4..6)?)?,
        digits(text.get(6..8)?)?,
        digits(text.get(9..11)?)?,
        digits(text.get(11..13)?)?,
        digits(text.get(13..15)?)?,
    )
}

/// An HTTP date in any of the three forms of RFC 9110 §5.6.7. Other text is `None`, which a condition header
/// treats as not being there.
pub(crate) fn parse_http_date(text: &str) -> Option<UnixMillis> {
    let text = text.trim();
    let (first, rest) = text.split_once(' ')?;
    let seconds = match first.strip_suffix(',') {
        Some(weekday) if weekday.len() == 3 => imf_fixdate(rest)?,
        Some(_) => rfc850(rest)?,
        None => asctime(rest.trim_start())?,
    };
    Some(UnixMillis(seconds * 1000))
}

/// `06 Nov 1994 08:49:37 GMT`
fn imf_fixdate(text: &str) -> Option<u64> {
    let mut fields = text.split(' ');
    let day = digits(fields.next()?)?;
    let month = month_number(fields.next()?)?;
    let year = digits(fields.next()?)?;
    let (hour, minute, second) = time_of_day(fields.next()?)?;
    (fields.next()? == "GMT" && fields.next().is_none()).then_some(())?;
    seconds_of(year, month, day, hour, minute, second)
}

/// `06-Nov-94 08:49:37 GMT`; years below 70 are of this century.
fn rfc850(text: &str) -> Option<u64> {
    let mut fields = text.split(' ');
    let mut date = fields.next()?.split('-');
    let day = digits(date.next()?)?;
    let month = month_number(date.next()?)?;
    let year = digits(date.next()?)?;
    let (hour, minute, second) = time_of_day(fields.next()?)?;
    (fields.next()? == "GMT" && year < 100).then_some(())?;
    seconds_of(year + if year < 70 { 2000 } else { 1900 }, month, day, hour, minute, second)
}

/// `Nov  6 08:49:37 1994`
fn asctime(text: &str) -> Option<u64> {
    let mut fields = text.split_ascii_whitespace();
    let month = month_number(fields.next()?)?;
    let day = digits(fields.next()?)?;
    let (hour, minute, second) = time_of_day(fields.next()?)?;
    let year = digits(fields.next()?)?;
    seconds_of(year, month, day, hour, minute, second)
}

fn time_of_day(text: &str) -> Option<(u64, u64, u64)> {
    let mut fields = text.split(':');
    let time = (digits(fields.next()?)?, digits(fields.next()?)?, digits(fields.next()?)?);
    fields.next().is_none().then_some(time)
}

fn month_number(name: &str) -> Option<u64> {
    MONTH_NAMES.iter().position(|m| *m == name).map(|at| at as u64 + 1)
}

/// One to four decimal digits and nothing else.
fn digits(text: &str) -> Option<u64> {
    let fine = (1..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if fine { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        let at = UnixMillis(784_111_777_999);
        assert_eq!(http_date(at), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(iso8601(at), "1994-11-06T08:49:37.000Z");
        assert_eq!(amz_date(at), "19941106T084937Z");
        assert_eq!(http_date(UnixMillis(0)), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(iso8601(UnixMillis(951_782_400_000)), "2000-02-29T00:00:00.000Z");
    }

    #[test]
    fn the_three_forms_of_rfc_9110() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse_http_date(text), Some(UnixMillis(784_111_777_000)), "{text}");
        }
    }

    #[test]
    fn nonsense_is_no_date() {
        for text in [
            "",
            " ",
            "yesterday",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, +6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 99999 08:49:37 GMT",
            "Sun, 06 Nov 1894 08:49:37 GMT",
        ] {
            assert_eq!(parse_http_date(text), None, "{text}");
        }
        for text in
            ["", "20130524T000000", "20130524 000000Z", "20131324T000000Z", "2013052éT00000Z"]
        {
            assert_eq!(parse_amz_date(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn round_trips(seconds in 0u64..253_402_300_800) {
            let at = UnixMillis(seconds * 1000);
            proptest::prop_assert_eq!(parse_http_date(&http_date(at)), Some(at));
            proptest::prop_assert_eq!(parse_amz_date(&amz_date(at)), Some(seconds));
        }

        #[test]
        fn any_text_is_survived(text in ".{0,40}") {
            let _ = (parse_http_date(&text), parse_amz_date(&text));
        }
    }
}
