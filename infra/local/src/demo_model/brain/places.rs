//! Where people say they are, and the time zone there: a table of cities and countries, and every city of the IANA
//! database for the rest.

use jiff::tz;

/// A place and its zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// As it is written in an answer; `None` for UTC and for a zone that is named as such.
    pub(super) name: Option<String>,
    /// The IANA zone.
    pub(super) zone: String,
}

impl Place {
    /// Where nobody says where.
    pub(super) fn utc() -> Self {
        Self { name: None, zone: "UTC".to_owned() }
    }

    /// The place in words.
    pub(super) fn label(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.zone)
    }
}

/// What a text says about places.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    /// Those that are known, in the order of their mention, each once.
    pub(super) known: Vec<Place>,
    /// The first that is not.
    pub(super) unknown: Option<String>,
}

/// The places in a text.
pub(super) fn places(text: &str) -> Places {
    let words = words(text);
    let mut known: Vec<Place> = Vec::new();
    let mut unknown = None;
    let mut at = 0;
    while at < words.len() {
        match place_at(&words[at..]) {
            Some((place, n)) => {
                if !known.iter().any(|known| known.zone == place.zone && known.name == place.name) {
                    known.push(place);
                }
                at += n;
            }
            None => {
                let is_place = at > 0 && words[at - 1] == "in" && starts_upper(words[at]) && words[at] != "I";
                if is_place && unknown.is_none() {
                    unknown = Some(words[at].to_owned());
                }
                at += 1;
            }
        }
    }
    Places { known, unknown }
}

fn words(text: &str) -> Vec<&str> {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '/' | '_' | '+' | '-');
    text.split(|c: char| !is_part(c))
        .map(|word| word.trim_matches(['/', '-', '_', '+']))
        .filter(|word| !word.is_empty())
        .collect()
}

fn starts_upper(word: &str) -> bool {
    word.starts_with(char::is_uppercase)
}

/// The place that begins here, and how many words its name has. The longest name wins: New York is not York.
fn place_at(words: &[&str]) -> Option<(Place, usize)> {
    let first = *words.first()?;
    if let Some((area, city)) = first.split_once('/') {
        return (starts_upper(area) && starts_upper(city)).then(|| (zone_named(first), 1));
    }
    for n in (1..=words.len().min(4)).rev() {
        let name = words[..n].join(" ").to_lowercase();
        let found = KNOWN.iter().find(|(names, ..)| names.split('|').any(|known| known == name));
        if let Some((_, label, zone)) = found {
            return Some((Place { name: Some((*label).to_owned()), zone: (*zone).to_owned() }, n));
        }
        if n == 1
            && let Some((_, label, zone)) = ABBREVIATIONS.iter().find(|(abbreviation, ..)| *abbreviation == first)
        {
            let name = (!label.is_empty()).then(|| (*label).to_owned());
            return Some((Place { name, zone: (*zone).to_owned() }, n));
        }
        if words[..n].iter().all(|word| starts_upper(word))
            && let Some(zone) = zone_of_city(&name)
        {
            return Some((Place { name: Some(words[..n].join(" ")), zone }, n));
        }
    }
    None
}

/// A zone that the text names itself. One that does not exist is passed on as well: the tool says what is wrong with it.
fn zone_named(text: &str) -> Place {
    let zone = tz::db().get(text).ok().and_then(|zone| zone.iana_name().map(str::to_owned));
    Place { name: None, zone: zone.unwrap_or_else(|| text.to_owned()) }
}

/// The zone that the IANA database names after a city.
fn zone_of_city(name: &str) -> Option<String> {
    const AREAS: [&str; 9] =
        ["Africa", "America", "Antarctica", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific"];
    /// Words that are also zones.
    const NOT_CITIES: [&str; 7] = ["west", "east", "north", "south", "center", "easter", "midway"];
    if name.len() < 4 || NOT_CITIES.contains(&name) {
        return None;
    }
    tz::db().available().map(|zone| zone.to_string()).find(|zone| {
        zone.split_once('/').is_some_and(|(area, rest)| {
            let city = rest.rsplit('/').next().unwrap_or(rest);
            AREAS.contains(&area) && city.len() == name.len() && city.to_lowercase().replace('_', " ") == name
        })
    })
}

/// Abbreviations, only as they are written here. A label is left out where the zone's name says it all.
const ABBREVIATIONS: [(&str, &str, &str); 18] = [
    ("UTC", "", "UTC"),
    ("GMT", "", "UTC"),
    ("Z", "", "UTC"),
    ("CET", "Central Europe", "Europe/Berlin"),
    ("CEST", "Central Europe", "Europe/Berlin"),
    ("BST", "London", "Europe/London"),
    ("EST", "New York", "America/New_York"),
    ("EDT", "New York", "America/New_York"),
    ("ET", "New York", "America/New_York"),
    ("CST", "Chicago", "America/Chicago"),
    ("MST", "Denver", "America/Denver"),
    ("PST", "Los Angeles", "America/Los_Angeles"),
    ("PDT", "Los Angeles", "America/Los_Angeles"),
    ("PT", "Los Angeles", "America/Los_Angeles"),
    ("JST", "Tokyo", "Asia/Tokyo"),
    ("IST", "India", "Asia/Kolkata"),
    ("US", "Washington, D.C.", "America/New_York"),
    ("AEST", "Sydney", "Australia/Sydney"),
];

/// Names in lower case, the label of an answer, the zone. Countries with several zones stand for their capital.
const KNOWN: [(&str, &str, &str); 102] = [
    ("abu dhabi", "Abu Dhabi", "Asia/Dubai"),
    ("argentina", "Argentina", "America/Argentina/Buenos_Aires"),
    ("atlanta", "Atlanta", "America/New_York"),
    ("australia|canberra", "Canberra", "Australia/Sydney"),
    ("austria", "Austria", "Europe/Vienna"),
    ("bangalore|bengaluru", "Bengaluru", "Asia/Kolkata"),
    ("barcelona", "Barcelona", "Europe/Madrid"),
    ("beijing|peking", "Beijing", "Asia/Shanghai"),
    ("belgium", "Belgium", "Europe/Brussels"),
    ("boston", "Boston", "America/New_York"),
    ("brazil", "Brasília", "America/Sao_Paulo"),
    ("rio|rio de janeiro", "Rio de Janeiro", "America/Sao_Paulo"),
    ("sao paulo|são paulo", "São Paulo", "America/Sao_Paulo"),
    ("buenos aires", "Buenos Aires", "America/Argentina/Buenos_Aires"),
    ("bulgaria", "Bulgaria", "Europe/Sofia"),
    ("california", "California", "America/Los_Angeles"),
    ("canada|ottawa", "Ottawa", "America/Toronto"),
    ("cape town", "Cape Town", "Africa/Johannesburg"),
    ("chennai", "Chennai", "Asia/Kolkata"),
    ("chile", "Chile", "America/Santiago"),
    ("china", "China", "Asia/Shanghai"),
    ("cologne|köln", "Cologne", "Europe/Berlin"),
    ("colombia", "Colombia", "America/Bogota"),
    ("croatia", "Croatia", "Europe/Zagreb"),
    ("czechia|czech republic", "Czechia", "Europe/Prague"),
    ("dallas", "Dallas", "America/Chicago"),
    ("delhi|new delhi", "Delhi", "Asia/Kolkata"),
    ("denmark", "Denmark", "Europe/Copenhagen"),
    ("edinburgh", "Edinburgh", "Europe/London"),
    ("egypt", "Egypt", "Africa/Cairo"),
    ("england", "England", "Europe/London"),
    ("estonia", "Estonia", "Europe/Tallinn"),
    ("finland", "Finland", "Europe/Helsinki"),
    ("florence", "Florence", "Europe/Rome"),
    ("france", "France", "Europe/Paris"),
    ("frankfurt", "Frankfurt", "Europe/Berlin"),
    ("geneva", "Geneva", "Europe/Zurich"),
    ("germany", "Germany", "Europe/Berlin"),
    ("greece", "Greece", "Europe/Athens"),
    ("hamburg", "Hamburg", "Europe/Berlin"),
    ("hanoi", "Hanoi", "Asia/Ho_Chi_Minh"),
    ("hawaii", "Hawaii", "Pacific/Honolulu"),
    ("holland|netherlands|the netherlands", "the Netherlands", "Europe/Amsterdam"),
    ("houston", "Houston", "America/Chicago"),
    ("hungary", "Hungary", "Europe/Budapest"),
    ("hyderabad", "Hyderabad", "Asia/Kolkata"),
    ("iceland", "Iceland", "Atlantic/Reykjavik"),
    ("india", "India", "Asia/Kolkata"),
    ("indonesia", "Jakarta", "Asia/Jakarta"),
    ("iran", "Iran", "Asia/Tehran"),
    ("ireland", "Ireland", "Europe/Dublin"),
    ("israel|tel aviv", "Israel", "Asia/Jerusalem"),
    ("italy", "Italy", "Europe/Rome"),
    ("japan", "Japan", "Asia/Tokyo"),
    ("kenya", "Kenya", "Africa/Nairobi"),
    ("kyiv|kiev|ukraine", "Kyiv", "Europe/Kyiv"),
    ("kyoto", "Kyoto", "Asia/Tokyo"),
    ("las vegas", "Las Vegas", "America/Los_Angeles"),
    ("london", "London", "Europe/London"),
    ("los angeles|la la land", "Los Angeles", "America/Los_Angeles"),
    ("malaysia", "Malaysia", "Asia/Kuala_Lumpur"),
    ("manchester", "Manchester", "Europe/London"),
    ("melbourne", "Melbourne", "Australia/Melbourne"),
    ("mexico", "Mexico City", "America/Mexico_City"),
    ("miami", "Miami", "America/New_York"),
    ("milan|milano", "Milan", "Europe/Rome"),
    ("montreal|montréal", "Montréal", "America/Toronto"),
    ("mumbai|bombay", "Mumbai", "Asia/Kolkata"),
    ("munich|münchen", "Munich", "Europe/Berlin"),
    ("new york|nyc|new york city", "New York", "America/New_York"),
    ("new zealand|wellington", "New Zealand", "Pacific/Auckland"),
    ("nigeria", "Nigeria", "Africa/Lagos"),
    ("norway", "Norway", "Europe/Oslo"),
    ("osaka", "Osaka", "Asia/Tokyo"),
    ("pakistan", "Pakistan", "Asia/Karachi"),
    ("paris", "Paris", "Europe/Paris"),
    ("peru", "Peru", "America/Lima"),
    ("philippines|the philippines", "the Philippines", "Asia/Manila"),
    ("poland", "Poland", "Europe/Warsaw"),
    ("portugal", "Portugal", "Europe/Lisbon"),
    ("romania", "Romania", "Europe/Bucharest"),
    ("russia", "Moscow", "Europe/Moscow"),
    ("san francisco|sf", "San Francisco", "America/Los_Angeles"),
    ("saudi arabia", "Saudi Arabia", "Asia/Riyadh"),
    ("scotland", "Scotland", "Europe/London"),
    ("seattle", "Seattle", "America/Los_Angeles"),
    ("seoul|korea|south korea", "Seoul", "Asia/Seoul"),
    ("shenzhen", "Shenzhen", "Asia/Shanghai"),
    ("singapore", "Singapore", "Asia/Singapore"),
    ("south africa", "South Africa", "Africa/Johannesburg"),
    ("spain", "Spain", "Europe/Madrid"),
    ("sweden", "Sweden", "Europe/Stockholm"),
    ("switzerland|zürich|zurich", "Zurich", "Europe/Zurich"),
    ("sydney", "Sydney", "Australia/Sydney"),
    ("taiwan", "Taiwan", "Asia/Taipei"),
    ("thailand", "Thailand", "Asia/Bangkok"),
    ("tokyo", "Tokyo", "Asia/Tokyo"),
    ("turkey|türkiye|ankara", "Türkiye", "Europe/Istanbul"),
    ("uk|united kingdom|britain|great britain", "the United Kingdom", "Europe/London"),
    ("usa|united states|the united states|washington|washington dc", "Washington, D.C.", "America/New_York"),
    ("vietnam", "Vietnam", "Asia/Ho_Chi_Minh"),
    ("berlin", "Berlin", "Europe/Berlin"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn zones(text: &str) -> Vec<String> {
        places(text).known.into_iter().map(|place| place.zone).collect()
    }

    #[test]
    fn every_zone_of_the_tables_exists() {
        for (name, _, zone) in KNOWN.iter().chain(&ABBREVIATIONS) {
            assert!(tz::db().get(zone).is_ok(), "{name}: {zone}");
        }
    }

    #[test]
    fn places_are_found_in_the_order_of_their_mention() {
        assert_eq!(
            zones("What time is it in new york, Tokyo and São Paulo? And tokyo?"),
            ["America/New_York", "Asia/Tokyo", "America/Sao_Paulo"]
        );
        assert_eq!(zones("the time in Europe/Madrid, and in PST"), ["Europe/Madrid", "America/Los_Angeles"]);
        assert_eq!(zones("Is it late in Samarkand?"), ["Asia/Samarkand"]);
        assert_eq!(zones("What time is it, and/or what date?"), Vec::<String>::new());
    }

    #[test]
    fn a_place_that_is_not_known_is_remembered_by_its_name() {
        assert_eq!(places("What time is it in Atlantis?").unknown.as_deref(), Some("Atlantis"));
        assert_eq!(zones("the time in Mars/Olympus"), ["Mars/Olympus"]);
    }
}
