//! What becomes of requests: when they leave, when they arrive, and what is noticed of them then.

use std::{future::Future, time::Duration};

use serde_json::{Value, json};
use tokio::time::Instant;
use tools::ToolContext;

use super::{
    Sim, WEATHER_LASTS, flow, model,
    model::Course,
    mutation,
    plot::{Effect, Said},
    weather::{Fate, Trouble},
    wire::{Answer, Call, owner_of, partition_of, sort_of},
};

impl Sim {
    pub(super) fn fate(&self, call: &Call) -> Fate {
        let weather = &self.0.weather;
        let again = {
            let mut state = self.state();
            let life = state.processes.entry(call.process.clone()).or_default();
            match &mut life.unlucky {
                Some((summary, trouble, left)) if *summary == call.summary() && *left > 0 => {
                    *left -= 1;
                    Some(*trouble)
                }
                _ => None,
            }
        };
        let trouble = match again {
            None if self.strikes(weather.in_a_thousand(&call.summary())) => {
                Some(self.draw(|random| random.weighted(weather.kinds)))
            }
            again => again,
        };
        // A viewer that dies comes back with its cursor: it has lost an answer, no more.
        let trouble = match trouble {
            Some(Trouble::DieBefore | Trouble::DieAfter | Trouble::PauseBefore | Trouble::Pause)
                if call.process.starts_with("viewer") =>
            {
                Some(Trouble::LoseAnswer)
            }
            other => other,
        };
        if again.is_none()
            && let Some(trouble @ (Trouble::LoseAnswers | Trouble::LoseRequests)) = trouble
        {
            let left = self.draw(|random| 2 + random.below(5));
            let unlucky = (call.summary(), trouble, u32::try_from(left).unwrap());
            self.state().processes.entry(call.process.clone()).or_default().unlucky = Some(unlucky);
        }
        let stale = if self.now() > WEATHER_LASTS { 0 } else { weather.stale };
        let fate = self.draw(|random| Fate::draw(random, trouble, stale));
        let what = trouble.map(|trouble| format!(" !! {trouble:?} {:?} {:?} {:?}", fate.there, fate.back, fate.span));
        self.note(&format!("{} {} {}{}", call.process, call.operation(), call.summary(), what.unwrap_or_default()));
        fate
    }

    /// Lets something happen on the network, whoever waits for it.
    pub(super) fn travels(&self, travel: impl Future<Output = ()> + Send + 'static) {
        self.state().travelling += 1;
        let sim = self.clone();
        tokio::spawn(async move {
            travel.await;
            sim.state().travelling -= 1;
        });
    }

    pub(super) fn fall_asleep(&self, process: &str, span: Duration) {
        let until = Instant::now() + span;
        self.state().processes.entry(process.to_owned()).or_default().asleep_until = Some(until);
    }

    pub(super) fn asleep(&self, process: &str) -> Option<Instant> {
        let state = self.state();
        let life = state.processes.get(process)?;
        // A call of the model that is on its way cannot be stopped without stopping the time.
        life.asleep_until.filter(|until| *until > Instant::now() && !life.holds_time)
    }

    /// A process goes on for a moment, in which it may ask the model.
    pub(super) fn wakes(&self, process: &str) {
        let mut state = self.state();
        let Some(life) = state.processes.get_mut(process) else { return };
        life.wakes += 1;
        if life.shall_ask.is_some() && !std::mem::replace(&mut life.holds_time, true) {
            let (sim, process) = (self.clone(), process.to_owned());
            drop(state);
            tokio::spawn(async move {
                model::hold_until_asked(&sim, &process).await;
                sim.state().processes.entry(process).or_default().holds_time = false;
            });
        }
    }

    pub(super) fn n_wakes(&self, process: &str) -> u64 {
        self.state().processes.get(process).map_or(0, |life| life.wakes)
    }

    pub(super) fn is_alive(&self, process: &str) -> bool {
        self.state().processes.get(process).is_some_and(|life| life.is_alive)
    }

    pub(super) fn is_asked(&self, process: &str) -> bool {
        self.state().processes.get(process).is_some_and(|life| life.has_asked)
    }

    /// The model's server has a process's request.
    pub(super) fn asked(&self, process: &str) -> Option<Course> {
        let mut state = self.state();
        let life = state.processes.get_mut(process)?;
        life.has_asked = true;
        life.shall_ask.take()
    }

    /// What the model says this time: never twice the same.
    pub(super) fn says(&self, name: &str, turn: u32) -> Said {
        let mut said = if name == model::CHAT { self.0.plot.said(turn) } else { flow::said(name, turn) };
        let mut state = self.state();
        let there = state.said.entry((name.to_owned(), turn)).or_default();
        said.pieces.insert(0, format!("{}. ", there.len() + 1));
        there.push(said.text());
        said
    }

    pub(super) fn tool_takes(&self) -> (Duration, Duration) {
        self.draw(|random| (random.millis(1..2_000), random.millis(1..2_000)))
    }

    pub(super) fn effect(&self, tool: &'static str, context: &ToolContext) {
        let (turn, call) = (context.turn, context.call.to_string());
        self.note(&format!("{tool} of turn {turn} ({call})"));
        let key = context.idempotency_key();
        self.state().effects.push(Effect { tool, turn, call, key });
    }

    /// A request arrives and is carried out.
    pub(super) fn arrive(&self, call: &Call, is_stale: bool) -> Answer {
        if call.is_for_queue() {
            return self.arrive_at_queue(call);
        }
        let is_over = self.state().is_over;
        let repeated =
            call.body["ClientRequestToken"].as_str().is_some_and(|token| self.state().tokens.contains(token));
        let mut answer = self.table().ask(&mutation::at_arrival(self, call));
        if answer.is_of_malformed() {
            self.breaks(format!("{}: {} {}: {}", call.process, call.operation(), call.summary(), answer.body));
        }
        if call.is_write() && answer.status == 200 && !repeated {
            if let Some(token) = call.body["ClientRequestToken"].as_str() {
                self.state().tokens.insert(token.to_owned());
            }
            self.written(call, is_over);
            if self.0.weather.people {
                self.counts_hold(call);
            }
        }
        if !call.is_write() && call.body["ConsistentRead"] != true {
            answer = self.in_the_past(call, answer, is_stale);
        }
        mutation::answered(self, call, answer)
    }

    pub(super) fn written(&self, call: &Call, was_over: bool) {
        for (kind, write) in call.writes() {
            let sort = sort_of(write);
            if kind != "ConditionCheck" && sort == "head" {
                let head = self.table().item(partition_of(write), sort).unwrap_or_default();
                let mut state = self.state();
                state.is_over |= head["state"]["S"] == "finished";
                state.heads.push(head);
            }
            let is_call = sort.contains("#call#");
            let is_fenced = sort.starts_with("lane#")
                || sort.ends_with("#answer")
                || (is_call && call.operation() == "TransactWriteItems");
            if was_over && is_fenced && kind != "ConditionCheck" {
                self.violated(format!("{} wrote {sort} after the job's end", call.process));
            }
            if is_call && kind == "Put" {
                let item = &write["Item"];
                let before = self.state().ends.get(sort).cloned();
                match before {
                    Some(end) if end != *item => self.violated(format!("the recorded end of {sort} was overwritten")),
                    None if item["progress"]["S"] == "finished" => {
                        self.state().ends.insert(sort.to_owned(), item.clone());
                    }
                    _ => {}
                }
            }
        }
    }

    /// After each write of a job's head or lanes: the head counts the lanes at work, a lane the answers that it waits for.
    fn counts_hold(&self, call: &Call) {
        let writes = call.writes();
        let touches =
            |write: &&(&str, &Value)| matches!(sort_of(write.1).split('#').next(), Some("head" | "lane" | "input"));
        let Some((_, write)) = writes.iter().find(touches) else { return };
        let items = self.table().items(partition_of(write), "head", "lane$");
        let Some(head) = items.iter().find(|item| sort_of(item) == "head") else { return };
        if head["state"]["S"] == "finished" {
            return;
        }
        let lanes = || items.iter().filter(|item| sort_of(item).starts_with("lane#") && item["open"]["BOOL"] == true);
        let at_work = lanes().filter(|lane| lane.get("waits").is_none()).count();
        if head["lanes_at_work"]["N"] != at_work.to_string().as_str() {
            let counted = &head["lanes_at_work"];
            self.violated(format!(
                "{}: the head counts {counted} lanes at work, and there are {at_work}",
                call.process
            ));
        }
        if (head["state"]["S"] == "input_required") != (at_work == 0) {
            self.violated(format!("{}: {} with {at_work} lanes at work", call.process, head["state"]));
        }
        for lane in lanes().filter(|lane| lane.get("waits").is_some()) {
            let name = sort_of(lane).trim_start_matches("lane#");
            let of_turn = format!("input#{name}.{}.", lane["turn"]["N"].as_str().unwrap_or_default());
            let is_open = |item: &&Value| sort_of(item).starts_with(&of_turn) && item["answered"]["BOOL"] == false;
            let n_open = items.iter().filter(is_open).count();
            let pending = &lane["waits"]["M"]["pending"]["N"];
            if *pending != n_open.to_string().as_str() {
                self.violated(format!(
                    "{}: {name} waits for {pending} answers, and {n_open} are missing",
                    call.process
                ));
            }
        }
    }

    pub(super) fn arrive_at_queue(&self, call: &Call) -> Answer {
        let now = self.now();
        let text = |name: &str| call.body[name].as_str().unwrap_or_default().to_owned();
        let seconds = |name: &str| Duration::from_secs(call.body[name].as_u64().unwrap_or_default());
        if call.operation() == "ChangeMessageVisibility" {
            let hidden = self.state().lines.hide(&text("ReceiptHandle"), now + seconds("VisibilityTimeout"));
            let kind = "com.amazonaws.sqs#InvalidParameterValue";
            return if hidden { Answer::json(200, &json!({})) } else { Answer::json(400, &json!({"__type": kind})) };
        }
        let line = text("QueueUrl").rsplit('/').next().unwrap_or_default().to_owned();
        let (lost, doubled, late) = self.0.weather.messages;
        let delay = seconds("DelaySeconds");
        let mut copies = vec![delay];
        if self.strikes(lost) {
            copies.clear();
        } else if self.strikes(doubled) {
            let apart = self.draw(|random| random.pick(&[10, 300, 30_000]));
            copies.push(delay + self.draw(|random| random.millis(0..apart)));
        }
        for mut delay in copies {
            if self.strikes(late) {
                delay += self.draw(|random| random.millis(100..40_000));
            }
            self.state().lines.send(&line, &text("MessageBody"), now + delay);
        }
        Answer::json(200, &json!({"MessageId": "m", "MD5OfMessageBody": ""}))
    }

    /// An eventually consistent answer: an older head, a log of which anything that is new may be missing, an index that
    /// lags.
    pub(super) fn in_the_past(&self, call: &Call, answer: Answer, is_stale: bool) -> Answer {
        let mut value = answer.value();
        let mut state = self.state();
        let state = &mut *state;
        let shard = call.body["ExpressionAttributeValues"][":shard"]["S"].as_str().map(str::to_owned);
        if let (Some(shard), Some(found)) = (shard, value["Items"].as_array().cloned()) {
            let known = state.due.entry(shard).or_default();
            if is_stale {
                let mut shown: Vec<Value> = found.iter().filter(|_| !state.random.chance(400)).cloned().collect();
                shown.extend(known.iter().filter(|entry| !found.contains(entry) && state.random.chance(500)).cloned());
                value["Count"] = json!(shown.len());
                value["ScannedCount"] = json!(shown.len());
                value["Items"] = json!(shown);
            }
            for entry in found {
                if !known.contains(&entry) {
                    known.push(entry);
                }
            }
            return Answer::json(answer.status, &value);
        }
        if !is_stale {
            return answer;
        }
        let back = state.random.below(3) + 1;
        let old = state.heads.iter().rev().nth(usize::try_from(back).unwrap()).cloned();
        if call.operation() == "GetItem" && sort_of(&call.body) == "head" {
            if let Some(old) = old {
                value["Item"] = old;
            }
        } else if let Some(items) = value["Items"].as_array_mut() {
            items.retain(|item| !sort_of(item).starts_with("event#") || !state.random.chance(300));
            for item in items.iter_mut().filter(|item| sort_of(item) == "head") {
                if let Some(old) = &old {
                    *item = old.clone();
                }
            }
            let n = items.len();
            value["Count"] = json!(n);
            value["ScannedCount"] = json!(n);
        }
        Answer::json(answer.status, &value)
    }

    /// An answer comes back to its sender. If it is the go-ahead for a call of the model, that is noted: a lane that it has
    /// read as one for the model is its own, and what the turn has to know was read, whichever came first.
    pub(super) fn answered(&self, call: &Call, answer: &Answer) {
        if answer.status >= 500 {
            return; // it is asked again
        }
        let (me, items) = (first_name(&call.process), answer.items());
        let is_ours = |lane: &&Value| owner_of(&lane["lease"]) == Some(me.as_str());
        let ours = items.iter().find(is_ours).map(sort_of);
        let asking = || items.iter().filter(|item| self.asks(item)).map(|lane| sort_of(lane).to_owned()).collect();
        let is_load = call.operation() == "Query"
            && call.body["ExpressionAttributeValues"][":to"]["S"] == "turn#~"
            && call.body["ExpressionAttributeValues"][":from"]["S"] == "head";
        let mut state = self.state();
        let life = state.processes.entry(call.process.clone()).or_default();
        life.has_loaded |= is_load;
        let claimed = call.claimed(&me).filter(|_| answer.status == 200);
        match ours.or(claimed) {
            Some(lane) if life.has_loaded && life.may_ask_in.contains(lane) => {
                drop(state);
                self.may_ask(&call.process);
            }
            None if is_load => life.may_ask_in = asking(),
            // It begins anew, and will read what the turn has to know when the lane is its own.
            None if call.operation() == "GetItem" && sort_of(&call.body).starts_with("lane#") => {
                (life.may_ask_in, life.has_loaded) = (asking(), false);
            }
            _ => {}
        }
    }

    /// Whether an item is a lane whose turn is one for the model. A workflow's first turn asks nobody.
    fn asks(&self, item: &Value) -> bool {
        let sort = sort_of(item);
        sort.starts_with("lane#")
            && (sort == "lane#main") != self.0.weather.workflow
            && item["open"]["BOOL"] == true
            && item["phase"]["S"] == "model"
    }

    /// Draws how the call goes that a process is about to make: one, whatever it reads after that.
    fn may_ask(&self, process: &str) {
        let goes_wrong = self.strikes(self.0.weather.model);
        let course = self.draw(|random| Course::draw(random, goes_wrong));
        let mut state = self.state();
        let life = state.processes.entry(process.to_owned()).or_default();
        life.may_ask_in.clear();
        life.shall_ask = Some(course);
    }

    pub(super) fn mutate(&self, call: &mut Call) {
        if let Some(mutation) = self.0.mutation {
            mutation.apply(call);
        }
    }
}

/// What an invocation calls itself in its lease.
fn first_name(process: &str) -> String {
    format!("{process}-of-0")
}
