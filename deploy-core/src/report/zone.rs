//! Times for people. This crate knows no time zones: a caller that does gives the offset.

use std::{fmt, sync::Arc};

use crate::model::Timestamp;

const DAY: i64 = 86_400;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// In which zone screens show times: UTC, with a `Z`, unless the caller tells the offset of its own.
#[derive(Clone, Default)]
pub struct Zone(Option<Arc<dyn Fn(Timestamp) -> i32 + Send + Sync>>);

impl Zone {
    /// UTC: times end in `Z`.
    #[must_use]
    pub fn utc() -> Self {
        Self(None)
    }

    /// The reader's own zone: how many seconds it is ahead of UTC at a given moment. Times have no suffix.
    #[must_use]
    pub fn ahead_by(seconds: impl Fn(Timestamp) -> i32 + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(seconds)))
    }

    fn suffix(&self) -> &'static str {
        if self.0.is_none() { "Z" } else { "" }
    }

    /// Seconds since 1970 on the wall clock of the zone; clamped to the years that can be written.
    fn seconds(&self, at: Timestamp) -> i64 {
        let ahead = self.0.as_ref().map_or(0, |ahead| i64::from(ahead(at)));
        at.as_millis().div_euclid(1000).saturating_add(ahead).clamp(0, 253_402_300_799)
    }

    /// `02:13:10Z`.
    #[must_use]
    pub fn clock(&self, at: Timestamp) -> String {
        let second = self.seconds(at) % DAY;
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        format!("{hour:02}:{minute:02}:{second:02}{}", self.suffix())
    }

    /// `02:13Z`.
    #[must_use]
    pub fn minute(&self, at: Timestamp) -> String {
        let second = self.seconds(at) % DAY;
        format!("{:02}:{:02}{}", second / 3_600, second / 60 % 60, self.suffix())
    }

    /// `18 Nov`, with the year where it is not the year of `now`.
    #[must_use]
    pub fn day(&self, at: Timestamp, now: Timestamp) -> String {
        let ((year, month, day), (this_year, ..)) = (civil(self.seconds(at)), civil(self.seconds(now)));
        let month = MONTHS.get(month).copied().unwrap_or("?");
        if year == this_year { format!("{day} {month}") } else { format!("{day} {month} {year}") }
    }

    /// `today 02:11Z`, `18 Nov 09:40Z`.
    #[must_use]
    pub fn day_and_minute(&self, at: Timestamp, now: Timestamp) -> String {
        if self.is_today(at, now) {
            return format!("today {}", self.minute(at));
        }
        format!("{} {}", self.day(at, now), self.minute(at))
    }

    /// `02:13Z` for today, else `18 Nov`.
    #[must_use]
    pub fn since(&self, at: Timestamp, now: Timestamp) -> String {
        if self.is_today(at, now) { self.minute(at) } else { self.day(at, now) }
    }

    fn is_today(&self, at: Timestamp, now: Timestamp) -> bool {
        self.seconds(at) / DAY == self.seconds(now) / DAY
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_none() { "Zone(UTC)" } else { "Zone(..)" })
    }
}

/// Year, month from 0 and day from 1, by the well-known reckoning in eras of 400 years that begin in March.
fn civil(seconds: i64) -> (i64, usize, i64) {
    let days = seconds.div_euclid(DAY) + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = usize::try_from((from_march + 2) % 12).unwrap_or(0);
    (era * 400 + year + i64::from(month < 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        serde_json::from_value(text.into()).unwrap()
    }

    #[test]
    fn utc_says_so() {
        let (zone, now) = (Zone::utc(), at("2026-11-21T02:13:10.999Z"));
        assert_eq!(zone.clock(now), "02:13:10Z");
        assert_eq!(zone.day_and_minute(now, now), "today 02:13Z");
        assert_eq!(zone.day_and_minute(at("2026-11-18T09:40:00Z"), now), "18 Nov 09:40Z");
        assert_eq!(zone.since(at("2025-05-03T09:40:00Z"), now), "3 May 2025");
    }

    #[test]
    fn a_zone_of_ones_own_moves_the_day_too() {
        let zone = Zone::ahead_by(|_| -8 * 3_600);
        let now = at("2026-11-21T02:13:10Z");
        assert_eq!((zone.clock(now), zone.day(now, now)), ("18:13:10".into(), "20 Nov".into()));
        assert_eq!(zone.since(at("2026-11-21T09:00:00Z"), now), "21 Nov");
    }

    #[test]
    fn days_agree_with_rfc_3339_for_four_hundred_years() {
        for day in 0..146_097_i64 {
            let time = Timestamp::from_millis(day * DAY * 1000);
            let (year, month, of_month) = civil(day * DAY);
            assert_eq!(time.to_string()[..10], format!("{year:04}-{:02}-{of_month:02}", month + 1));
        }
    }

    #[test]
    fn no_time_makes_it_panic() {
        for zone in [Zone::utc(), Zone::ahead_by(|_| i32::MIN), Zone::ahead_by(|_| i32::MAX)] {
            for millis in [i64::MIN, -1, 0, i64::MAX] {
                let time = Timestamp::from_millis(millis);
                let _ = (zone.clock(time), zone.day_and_minute(time, Timestamp::from_millis(0)));
            }
        }
    }
}
