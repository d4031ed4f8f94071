//! Long conversations, kept short.

use std::collections::BTreeSet;

use domain::{
    answer::Answer,
    compaction::{Cause, Cut, Shortened},
    conversation::{Told, conversation},
    id::{LaneName, ToolCallId},
    job::{Compaction, CompactionStrategy, CompactionThreshold, FinishReason, ModelSettings},
    message::{Content, Message, RequestedCall},
    time::Timestamp,
    tokens,
    tool_call::{Progress, ToolCall, ToolOutcome},
    turn::{Turn, Turns, used},
    usage::Usage,
};
use proptest::{collection::vec, prelude::*};

/// What one turn says: text, results of so many calls, and what its provider counts, if it counts.
#[derive(Debug, Clone)]
struct Said {
    text: String,
    results: Vec<String>,
    counts: bool,
    /// How often the provider refuses the conversation before it answers.
    refusals: u32,
}

fn said() -> impl Strategy<Value = Said> {
    let text = prop_oneof![Just(String::new()), "[a-zé ]{1,40}", (200..4000_usize).prop_map(|n| "word ".repeat(n))];
    let results = vec(prop_oneof!["[a-z]{0,20}", (1..3000_usize).prop_map(|n| "漢字 ".repeat(n))], 0..4);
    (text, results, any::<bool>(), prop_oneof![4 => Just(0), 1 => 1..4_u32])
        .prop_map(|(text, results, counts, refusals)| Said { text, results, counts, refusals })
}

fn rules() -> impl Strategy<Value = Compaction> {
    let threshold = prop_oneof![
        1 => Just(CompactionThreshold::Auto),
        4 => (1..6000_u32).prop_map(CompactionThreshold::Tokens)
    ];
    let strategy = prop_oneof![Just(CompactionStrategy::Summarize), Just(CompactionStrategy::Truncate)];
    (threshold, 1..8_u32, strategy).prop_map(|(threshold, preserve_recent, strategy)| Compaction {
        threshold,
        preserve_recent,
        strategy,
    })
}

fn requested(turn: u32, index: u32) -> RequestedCall {
    RequestedCall {
        id: format!("c{turn}-{index}").parse().unwrap(),
        name: "look".into(),
        arguments: "{}".into(),
        extra_content: None,
    }
}

/// The turn that says this after it read so many tokens.
fn answered(said: &Said, number: u32, tokens: u64) -> Turn {
    let calls = (0..).zip(&said.results).map(|(index, result)| {
        let outcome = ToolOutcome::Completed(result.clone());
        let call = ToolCall {
            request: requested(number, index),
            lane: LaneName::main(),
            turn: number,
            index,
            node_id: None,
            fingerprint: String::new(),
            attempts: 1,
            edited: None,
            started_at: Timestamp::MIN,
            progress: Progress::Finished { outcome, at: Timestamp::MIN },
        };
        (index, call)
    });
    let answer = Answer {
        text: said.text.clone(),
        reasoning: String::new(),
        reasoning_goes_back: false,
        reasoning_details: vec![],
        calls: (0..).zip(&said.results).map(|(index, _)| requested(number, index)).collect(),
        finish_reason: FinishReason::ToolCalls,
        model: "any".into(),
        usage: Usage { input_tokens: if said.counts { tokens } else { 0 }, ..Usage::default() },
        model_time_ms: 0,
        inbox: 0,
    };
    Turn { answer: Some(answer), calls: calls.collect(), shortened: vec![] }
}

/// A job whose turns say these one after another, each after its conversation was made as short as the rules want it.
struct Played {
    asked: Vec<Message>,
    turns: Turns,
    /// What each turn's model was told in the end, and whether that turn made it shorter.
    told: Vec<(Vec<Message>, bool)>,
}

fn settings() -> ModelSettings {
    ModelSettings { model: "somebody/own-model".into(), ..ModelSettings::default() }
}

fn recorded(rules: &Compaction, told: &Told, cut: &Cut) -> Shortened {
    match rules.strategy {
        CompactionStrategy::Truncate => cut.left_out(told, None),
        CompactionStrategy::Summarize => {
            cut.summarised(told, "In short.", Usage { output_tokens: 3, ..Usage::default() }, 5)
        }
    }
}

impl Played {
    fn new(asked: Vec<Message>, turns: &[Said], rules: &Compaction) -> Result<Self, TestCaseError> {
        let mut played = Self { asked, turns: Turns::new(), told: vec![] };
        for (number, said) in (1..).zip(turns) {
            let place = (LaneName::main(), number);
            let before = played.told(number);
            let causes = [Cause::Threshold].into_iter().chain((0..said.refusals).map(Cause::Refusal));
            for cause in causes {
                let told = played.told(number);
                let Some(cut) = rules.cut(&told, &settings(), &[], cause) else { continue };
                let shortened = recorded(rules, &told, &cut);
                prop_assert!((shortened.through as usize) < told.whole.len(), "something stays");
                let earlier = told.latest.as_ref().map_or(0, |latest| latest.through);
                prop_assert!(shortened.through > earlier, "each cut goes further than the one before");
                if cause == Cause::Threshold {
                    prop_assert!(told.tokens(&[]) > rules.limit(&settings()));
                    let kept = told.whole.len() - shortened.through as usize;
                    prop_assert!(kept >= rules.preserve_recent as usize, "{kept} messages stay");
                }
                played.turns.entry(place.clone()).or_default().shortened.push(shortened);
            }
            let told = played.told(number);
            let tokens = told.tokens(&[]);
            played.told.push((told.clone().into_messages(), told.latest != before.latest));
            let shortened = played.turns.remove(&place).unwrap_or_default().shortened;
            played.turns.insert(place, Turn { shortened, ..answered(said, number, tokens) });
        }
        Ok(played)
    }

    fn told(&self, next: u32) -> Told {
        Told::new(&self.asked, &self.turns, &[], &LaneName::main(), next, 0)
    }
}

/// Every call is answered right behind it, and every answer has its call.
fn calls_are_whole(messages: &[Message]) -> Result<(), TestCaseError> {
    let mut open: BTreeSet<&ToolCallId> = BTreeSet::new();
    for message in messages {
        match message {
            Message::Tool { tool_call_id, .. } => {
                prop_assert!(open.remove(tool_call_id), "{tool_call_id} has no call before it");
            }
            other => {
                prop_assert!(open.is_empty(), "{open:?} have no results");
                if let Message::Assistant { tool_calls, .. } = other {
                    open.extend(tool_calls.iter().map(|call| &call.id));
                }
            }
        }
    }
    prop_assert!(open.is_empty(), "{open:?} have no results");
    Ok(())
}

fn asked() -> impl Strategy<Value = Vec<Message>> {
    let chat = vec(prop_oneof!["[a-z ]{1,60}", (1..2000_usize).prop_map(|n| "past ".repeat(n))], 0..6);
    (0..3_usize, chat).prop_map(|(n_orders, chat)| {
        let orders = (0..n_orders).map(|n| Message::system(format!("Order {n}.")));
        let chat = chat.into_iter().enumerate().map(|(n, text)| match n % 2 {
            0 => Message::user(text),
            _ => Message::Assistant {
                content: Content::Text(text),
                tool_calls: vec![],
                reasoning_details: vec![],
                reasoning_content: None,
            },
        });
        orders.chain(chat).chain([Message::user("Do it.")]).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_call_is_never_parted_from_its_results_and_orders_stay(
        asked in asked(), turns in vec(said(), 1..8), rules in rules()
    ) {
        let n_orders = asked.iter().take_while(|message| matches!(message, Message::System { .. })).count();
        let played = Played::new(asked, &turns, &rules)?;
        for (told, _) in &played.told {
            calls_are_whole(told)?;
            prop_assert_eq!(&told[..n_orders], &played.asked[..n_orders]);
            prop_assert!(told[n_orders..].iter().any(|message| matches!(message, Message::User { .. })), "{:?}", told);
        }
    }

    #[test]
    fn every_attempt_and_every_later_turn_reads_the_same(asked in asked(), turns in vec(said(), 1..8), rules in rules()) {
        let played = Played::new(asked, &turns, &rules)?;
        for (number, (told, _)) in (1..).zip(&played.told) {
            let again = conversation(&played.asked, &played.turns, &[], &LaneName::main(), number, 0);
            prop_assert_eq!(told, &again);
        }
        for pair in played.told.windows(2) {
            let [(before, _), (after, shorter)] = pair else { unreachable!("windows of two") };
            prop_assert!(*shorter || after.starts_with(before), "it changed, and nothing is on record");
        }
    }

    #[test]
    fn the_last_messages_are_those_of_the_whole_conversation(
        asked in asked(), turns in vec(said(), 1..8), rules in rules()
    ) {
        let played = Played::new(asked, &turns, &rules)?;
        for (number, (told, _)) in (1..).zip(&played.told) {
            let Told { whole, latest, .. } = played.told(number);
            let Some(latest) = latest else { prop_assert_eq!(told, &whole); continue };
            let kept = &whole[latest.through as usize..];
            prop_assert!(told.ends_with(kept));
            prop_assert_eq!(&told[told.len() - kept.len() - 1], &latest.as_message());
        }
    }

    #[test]
    fn a_provider_that_refuses_for_ever_comes_to_an_end(asked in asked(), turns in vec(said(), 1..5), rules in rules()) {
        let mut played = Played::new(asked, &turns, &rules)?;
        let next = u32::try_from(turns.len()).unwrap() + 1;
        for times in 0.. {
            let told = played.told(next);
            let Some(cut) = rules.cut(&told, &settings(), &[], Cause::Refusal(times)) else { break };
            prop_assert!((times as usize) < told.whole.len(), "it goes on for ever");
            let shortened = recorded(&rules, &told, &cut);
            prop_assert!(shortened.refused);
            played.turns.entry((LaneName::main(), next)).or_default().shortened.push(shortened);
        }
    }

    #[test]
    fn a_summary_is_asked_for_in_less_than_the_conversation_may_have(
        asked in asked(), turns in vec(said(), 1..6), limit in 4000..9000_u32
    ) {
        let summarize = CompactionStrategy::Summarize;
        let rules = Compaction { threshold: CompactionThreshold::Tokens(limit), preserve_recent: 2, strategy: summarize };
        let played = Played::new(asked, &turns, &rules)?;
        let told = played.told(u32::try_from(turns.len()).unwrap() + 1);
        let Some(cut) = rules.cut(&told, &settings(), &[], Cause::Refusal(0)) else { return Ok(()) };
        let earlier = told.latest.as_ref().map_or(0, |latest| tokens::of_message(&latest.as_message()));
        let question = tokens::of_messages(&cut.question(&told));
        prop_assert!(question <= u64::from(limit) + earlier + 400, "{question} tokens of {limit}");
    }
}

fn talk(n: usize) -> Vec<Message> {
    let talk = (0..n).map(|n| match n % 2 {
        0 => Message::user(format!("Question {n}.")),
        _ => Message::Assistant {
            content: Content::Text(format!("Answer {n}.")),
            tool_calls: vec![],
            reasoning_details: vec![],
            reasoning_content: None,
        },
    });
    [Message::system("Be brief.")].into_iter().chain(talk).collect()
}

fn told(asked: &[Message], turns: &Turns) -> Told {
    Told::new(asked, turns, &[], &LaneName::main(), 2, 0)
}

fn at(tokens: u32, strategy: CompactionStrategy) -> Compaction {
    Compaction { threshold: CompactionThreshold::Tokens(tokens), preserve_recent: 5, strategy }
}

#[test]
fn all_but_the_last_messages_become_one() {
    let whole = told(&talk(11), &Turns::new());
    let rules = at(20, CompactionStrategy::Summarize);
    let cut = rules.cut(&whole, &settings(), &[], Cause::Threshold).unwrap();
    let question = cut.question(&whole);
    assert!(matches!(&question[0], Message::System { .. }));
    let Message::User { content } = &question[1] else { panic!("{question:?}") };
    assert!(content.text().starts_with("[person]\nQuestion 0.\n\n[assistant]\nAnswer 1."), "{}", content.text());
    let shortened = cut.summarised(&whole, " They talked. ", Usage { output_tokens: 7, ..Usage::default() }, 40);
    assert_eq!(shortened.told.messages, 6);
    assert_eq!(shortened.told.strategy, CompactionStrategy::Summarize);
    assert!(shortened.told.tokens_after < shortened.told.tokens_before);
    let mut turns =
        Turns::from([((LaneName::main(), 1), Turn { shortened: vec![shortened.clone()], ..Turn::default() })]);
    assert_eq!(used(&turns).output_tokens, 7, "a summary is paid for");
    let messages = told(&talk(11), &turns).into_messages();
    assert_eq!(messages.len(), 1 + 1 + 5);
    assert_eq!(messages[1], Message::user("[A summary of the 6 messages before]\nThey talked."));
    assert_eq!(messages[2..], talk(11)[7..]);

    // What is longer again is cut again; the summary that is there is part of what is summed up.
    let again = told(&talk(21), &turns);
    let cut = rules.cut(&again, &settings(), &[], Cause::Threshold).unwrap();
    let Message::User { content } = &cut.question(&again)[1] else { panic!() };
    assert!(content.text().starts_with("[summary of what was before]\n[A summary of the 6"), "{}", content.text());
    let left_out = cut.left_out(&again, Some("no summary was made".into()));
    assert_eq!(
        left_out.text, "[A summary of the first of them]\nThey talked.\n\n[The 16 messages before are left out]",
        "what was summed up is kept even so"
    );
    turns.get_mut(&(LaneName::main(), 1)).unwrap().shortened.push(left_out);
    assert_eq!(told(&talk(21), &turns).into_messages().len(), 1 + 1 + 5);
}

#[test]
fn what_was_asked_for_is_quoted_where_no_person_says_it_any_more() {
    let asked = [Message::system("Be brief."), Message::user("Find the café.")];
    let mut turns = Turns::new();
    for number in 1..5 {
        let said = Said { text: String::new(), results: vec!["x".repeat(400)], counts: false, refusals: 0 };
        turns.insert((LaneName::main(), number), answered(&said, number, 0));
    }
    let told = Told::new(&asked, &turns, &[], &LaneName::main(), 5, 0);
    let cut = at(100, CompactionStrategy::Truncate).cut(&told, &settings(), &[], Cause::Threshold).unwrap();
    let shortened = cut.left_out(&told, None);
    assert_eq!(
        shortened.text,
        "[The 3 messages before are left out]\n\n[What was asked for last among them, word for word]\nFind the café."
    );
    assert_eq!(shortened.request.as_deref(), Some("Find the café."));
}

#[test]
fn a_conversation_under_its_threshold_or_with_little_to_cut_stays() {
    let whole = told(&talk(11), &Turns::new());
    let cut = |rules: Compaction| rules.cut(&whole, &settings(), &[], Cause::Threshold);
    assert_eq!(cut(at(5000, CompactionStrategy::Summarize)), None);
    assert_eq!(cut(Compaction { preserve_recent: 11, ..at(1, CompactionStrategy::Summarize) }), None);
    assert!(cut(Compaction { preserve_recent: 10, ..at(1, CompactionStrategy::Summarize) }).is_some());
    let long = [Message::user("short"), Message::user("long ".repeat(4000))];
    let whole = told(&long, &Turns::new());
    let keep_one = Compaction { preserve_recent: 1, ..at(2000, CompactionStrategy::Summarize) };
    assert_eq!(keep_one.cut(&whole, &settings(), &[], Cause::Threshold), None, "what is long stays all the same");
    assert!(keep_one.cut(&whole, &settings(), &[], Cause::Refusal(0)).is_some(), "the provider has refused it");
}

#[test]
fn auto_is_four_fifths_of_what_the_model_takes_or_less_where_the_answer_is_long() {
    let auto = Compaction {
        threshold: CompactionThreshold::Auto,
        preserve_recent: 5,
        strategy: CompactionStrategy::Summarize,
    };
    let of = |model: &str, max_output_tokens| {
        auto.limit(&ModelSettings { model: model.into(), max_output_tokens, ..ModelSettings::default() })
    };
    assert_eq!(of("openai/gpt-4o", None), 102_400);
    assert_eq!(of("openai/gpt-4o", Some(64_000)), 64_000);
    assert_eq!(of("own", None), 26_215);
    assert_eq!(of("own", Some(1_000_000)), 3276);
}

#[test]
fn what_the_provider_has_counted_is_believed() {
    let said = Said { text: "word ".repeat(100), results: vec![], counts: true, refusals: 0 };
    let turns = Turns::from([((LaneName::main(), 1), answered(&said, 1, 90_000))]);
    let told = told(&talk(1), &turns);
    assert_eq!(told.tokens(&[]), 90_000 + 4 + 125);
}
