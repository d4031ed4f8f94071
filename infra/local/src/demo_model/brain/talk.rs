//! What the demo model says when no tool can help: greetings, who it is, and long texts to watch streaming by.

/// An answer to anything.
pub(super) fn about<'a>(question: &str, tools: impl Iterator<Item = &'a str>) -> String {
    if let Some(n) = count_to(question) {
        return (1..=n).map(|n| n.to_string()).collect::<Vec<_>>().join(", ") + ".";
    }
    if wants_long_text(question) {
        return story(&topic(question));
    }
    let lower = question.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let has = |wanted: &[&str]| words.iter().any(|word| wanted.contains(word));
    if has(&["thanks", "thank", "thx", "cheers"]) && words.len() <= 8 {
        return "You're welcome! Ask me for the time somewhere, or for a sum, whenever you like.".to_owned();
    }
    if has(&["bye", "goodbye"]) && words.len() <= 6 {
        return "Goodbye! Your jobs go on without you; that is the point of Nightshift.".to_owned();
    }
    let greets = has(&["hi", "hello", "hey", "hallo", "moin", "greetings", "howdy"])
        || lower.starts_with("good morning")
        || lower.starts_with("good evening");
    let greeting = if greets { "Hello! " } else { "" };
    let tools: Vec<String> = tools.map(|tool| format!("`{tool}`")).collect();
    let tools = if tools.is_empty() {
        "No tools were offered to me in this conversation, so I can only talk.".to_owned()
    } else {
        format!("I can use the tools of this conversation ({}).", tools.join(", "))
    };
    let try_this = "try *What time is it in Tokyo and what is 17% of 2,340?* or *Write a long story about the sea*";
    let lead = if greets || has(&["who", "you", "help"]) || question.trim().is_empty() {
        "I am Nightshift's built-in demo model: no language model, just enough of one to see jobs run."
    } else {
        "I am only Nightshift's built-in demo model, so I cannot answer that."
    };
    format!(
        "{greeting}{lead} {tools} For example, {try_this}. For real answers set `OPENROUTER_API_KEY`, or \
         `NIGHTSHIFT_MODEL_URL` to any OpenAI-compatible server, and start again."
    )
}

/// Whether a text asks for one that takes a while to stream.
pub(super) fn wants_long_text(question: &str) -> bool {
    const KINDS: [&str; 12] = [
        "story",
        "stories",
        "essay",
        "tale",
        "text",
        "poem",
        "article",
        "novel",
        "report",
        "letter",
        "speech",
        "paragraphs",
    ];
    const VERBS: [&str; 8] = ["write", "tell", "give", "compose", "generate", "make", "create", "describe"];
    let lower = question.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).collect();
    let has = |wanted: &[&str]| words.iter().any(|word| wanted.contains(word));
    has(&VERBS) && (has(&KINDS) || (has(&["long"]) && has(&["about", "something", "answer"])))
        || (words.len() > 1 && words[0] == "write" && words[1..].contains(&"about"))
}

/// `count to 50`, at most to a thousand.
fn count_to(question: &str) -> Option<u32> {
    let lower = question.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let count = words.iter().position(|word| *word == "count")?;
    let to = count + words[count..].iter().position(|word| *word == "to")?;
    words.get(to + 1)?.parse().ok().filter(|n| (1..=1000).contains(n))
}

/// What a long text shall be about.
fn topic(question: &str) -> String {
    let lower = question.to_ascii_lowercase();
    let start = [" about ", " on ", " of "].iter().find_map(|word| lower.find(word).map(|at| at + word.len()));
    let topic = start.map_or("", |start| &question[start..]);
    let topic = topic.split(['.', '?', '!', ';', '\n']).next().unwrap_or_default().trim().trim_matches('"');
    if topic.is_empty() { "the night shift".to_owned() } else { topic.chars().take(80).collect() }
}

/// Forty sentences. `{}` is the topic.
fn story(topic: &str) -> String {
    let title: String = {
        let mut chars = topic.chars();
        chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
    };
    let body = STORY.iter().map(|paragraph| paragraph.join(" ")).collect::<Vec<_>>().join("\n\n");
    format!("## {title}\n\n{}", body.replace("{title}", &title).replace("{}", topic))
}

const STORY: [[&str; 8]; 5] = [
    [
        "It began on an ordinary evening, when the last tram had gone and the street lamps hummed.",
        "Mara unlocked the small office at the harbour, put the kettle on, and opened the ledger.",
        "On the first page somebody had written a single line about {}.",
        "She read it twice, because the handwriting was her own and she could not remember writing it.",
        "Outside, the rain drew long threads of light across the water.",
        "She decided to follow the line wherever it led, one page at a time.",
        "The rule of the house was simple: write down what you are about to do, and only then do it.",
        "So she wrote down the hour, and turned the page.",
    ],
    [
        "The second page was a list of everyone who had ever asked about {}.",
        "There were sailors on it, a baker, two astronomers, and a child who had only wanted to stay up late.",
        "Beside each name stood a number, and none of the numbers was missing.",
        "Mara liked that; a gap in the numbers would have meant that something had been lost.",
        "She copied the last one onto a slip of paper and put it into her pocket.",
        "If the lights went out, she would know exactly where to go on reading.",
        "At that moment the lights did go out.",
        "She waited, counted to ten, and lit a candle.",
    ],
    [
        "By candlelight the office looked larger, and the ledger looked older.",
        "A second clerk came in, shaking the rain from his coat, and asked whose shift it was.",
        "They agreed that it could only be one person's at a time, and that the lease on the chair ran out every ten seconds.",
        "He laughed, but he stood by the door until she had renewed it.",
        "Then he told her what he knew about {}, which was a good deal.",
        "He had heard it from an old captain, who had heard it from the sea.",
        "Some of it contradicted the ledger, and Mara marked those lines with a small cross.",
        "\"Do not strike them out,\" he said, \"just say which of them counts.\"",
    ],
    [
        "Towards three in the morning the telephone rang.",
        "A voice asked whether the work on {} was done, and whether it might be cancelled instead.",
        "Mara said that it might, at any time, and that nothing half finished would be left lying about.",
        "There was a long silence on the line, in which one could hear gulls.",
        "\"Go on, then,\" said the voice, \"I only wanted to know that I could.\"",
        "She thanked the caller, wrote down the call, and went on.",
        "The candle had burned halfway, and the rain had stopped.",
        "Somewhere a ship's bell struck, once for every page that she had filled.",
    ],
    [
        "When the first light came, there was only one line left to write.",
        "It was the answer that everyone on the list had been waiting for.",
        "{title} turned out to be less of a mystery than a habit: of keeping at it, quietly, while others sleep.",
        "Mara read the whole ledger once more from the beginning, and it still made sense.",
        "She signed it, closed it, and put it on the shelf beside the others.",
        "The second clerk had fallen asleep by the door, and she did not wake him.",
        "On the tram home she found the slip of paper in her pocket, and the number on it was right.",
        "And that is all there is to tell, until the next night shift begins.",
    ],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_is_about_its_topic_and_has_forty_sentences() {
        let text = about("Tell me a long story about the deep sea.", std::iter::empty());
        assert!(text.starts_with("## The deep sea\n"), "{text}");
        assert!(text.matches("the deep sea").count() >= 4, "{text}");
        assert!(!text.contains('{'), "{text}");
        assert_eq!(STORY.as_flattened().len(), 40);
    }

    #[test]
    fn it_introduces_itself_and_says_how_to_get_a_real_model() {
        for question in ["Who are you?", "What is the capital of France?", "", "hello"] {
            let text = about(question, ["calculate"].into_iter());
            for expected in ["demo model", "OPENROUTER_API_KEY", "NIGHTSHIFT_MODEL_URL", "`calculate`"] {
                assert!(text.contains(expected), "{question}: {text}");
            }
        }
        assert!(about("hello there", std::iter::empty()).starts_with("Hello!"));
    }

    #[test]
    fn it_counts() {
        assert_eq!(about("Count to 5, please", std::iter::empty()), "1, 2, 3, 4, 5.");
    }
}
