use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;

use super::balance::{Balance, Ejection, Rules, Standing, Weighed};
use super::dns::{Names, Question};
use super::target::Entry;
use super::transport::Transport;
use super::{BalanceConfig, Base, EjectionConfig, Pool, ServiceConfig, Target, TargetConfig, Timeouts};
use crate::building::{BuildError, Errors, Step};
use crate::state::{Answer, Known, Shared};
use crate::types::Percent;

/// What the pools of a service are made of, again whenever a name stands for other places.
#[derive(Debug)]
pub struct Plan {
    service: Arc<str>,
    sources: Box<[Source]>,
    transport: Transport,
    balance: BalanceConfig,
    ejection: Option<EjectionConfig>,
    /// What can keep a target from its full share; none where nothing can.
    rules: Option<Rules>,
    shared: Shared,
    names: Arc<Names>,
    /// One pool is made at a time, or an older one could take the place of a newer one.
    pub making: Mutex<()>,
}

/// One entry of `targets:`, and what is known of its name where it has one.
#[derive(Debug)]
struct Source {
    entry: Entry,
    asked: Option<(Question, Arc<Answer>)>,
}

impl Plan {
    /// Reads everything that pools are made of, and tries it out.
    pub fn build<P>(
        name: &str,
        config: &ServiceConfig<P>,
        timeouts: Timeouts,
        base: &Base<'_>,
        errors: &mut Errors,
        root: &[Step],
    ) -> Option<Self> {
        let entries = config.targets.iter().enumerate().map(|(index, target)| {
            let entry = Entry::build(target).map_err(|error| error.at(index).at("targets"));
            errors.keep(root, entry)
        });
        let entries: Vec<Entry> = entries.collect::<Vec<_>>().into_iter().collect::<Option<_>>()?;
        let mut places = HashSet::new();
        for (index, entry) in entries.iter().enumerate().filter(|(_, entry)| !places.insert(entry.place())) {
            let error = BuildError::new(format!("`{}` is named twice", entry.url), "name it once, with a `weight` for how much it gets");
            errors.keep::<()>(root, Err(error.at(index).at("targets")));
        }
        if config.tls.is_some() && !entries.iter().any(|entry| entry.tls) {
            let error = BuildError::new("no target is spoken to over TLS", "write a target as `https://…`, or remove it");
            errors.keep::<()>(root, Err(error.at("tls")));
        }
        let protocol = config.protocol.unwrap_or_default();
        let transport = Transport::build(name, timeouts, protocol, config.connections.as_ref(), config.tls.as_ref(), base.folder);
        let transport = errors.keep(root, transport);
        let plan = Self {
            service: name.into(),
            sources: entries
                .into_iter()
                .map(|entry| {
                    let asked = entry.question().map(|question| (question.clone(), Names::answer(&question, base.shared)));
                    Source { entry, asked }
                })
                .collect(),
            transport: transport?,
            balance: config.balance.clone().unwrap_or_default(),
            ejection: config.ejection.clone(),
            rules: errors.keep(root, rules(config)).flatten(),
            shared: base.shared.clone(),
            names: base.names.clone(),
            making: Mutex::new(()),
        };
        // As if each name had one address: what is wrong with it would be with more.
        let weighed: Vec<_> = config
            .targets
            .iter()
            .map(|TargetConfig { url, weight, priority, .. }| Weighed { url, weight: *weight, priority: *priority })
            .collect();
        errors.keep(root, plan.balance(&weighed)).map(|_| plan)
    }

    /// The pool of what is known now.
    ///
    /// # Errors
    /// More targets, or weights, than a balancer can hold.
    pub fn pool(&self) -> Result<Pool, BuildError> {
        let mut targets: Vec<Target> = Vec::new();
        let mut complete = true;
        for Source { entry, asked } in &self.sources {
            let known = asked.as_ref().map(|(_, answer)| answer.known());
            complete &= known.as_ref().is_none_or(|known| known.due.is_some());
            let places = known.map(|known| known.places).unwrap_or_default();
            for target in entry.targets(&places, &self.transport) {
                // Two entries may lead to the same place by the same name.
                if !targets.iter().any(|other| other.key == target.key) {
                    targets.push(target);
                }
            }
        }
        // Where only those without weight are left of a priority, there is none to choose.
        let weighty: HashSet<u8> = targets.iter().filter(|target| target.weight > 0).map(|target| target.priority).collect();
        targets.retain(|target| weighty.contains(&target.priority));
        let weighed: Vec<_> =
            targets.iter().map(|Target { key, weight, priority, .. }| Weighed { url: key, weight: *weight, priority: *priority }).collect();
        let balance = self.balance(&weighed)?;
        balance.welcome(complete);
        Ok(Pool::new(balance, targets))
    }

    fn balance(&self, targets: &[Weighed<'_>]) -> Result<Balance, BuildError> {
        let takers = targets.iter().filter(|target| target.weight > 0).count();
        let ejection = self.ejection.as_ref().map(|config| Ejection::build(config, &self.service, takers, &self.shared));
        let ejection = ejection.transpose().map_err(|error| error.at("ejection"))?;
        let standing = self.rules.map(|rules| Standing::new(rules, self.shared.changes.get(&self.service)));
        Balance::build(&self.balance, ejection, standing, &self.service, targets, &self.shared)
    }

    /// The names that it goes by, each once.
    pub fn asked(&self) -> Vec<(Question, Arc<Answer>)> {
        let mut asked: Vec<(Question, Arc<Answer>)> = Vec::new();
        for (question, answer) in self.sources.iter().filter_map(|source| source.asked.as_ref()) {
            if !asked.iter().any(|(known, _)| known == question) {
                asked.push((question.clone(), answer.clone()));
            }
        }
        asked
    }

    /// How many entries of `targets:` there are: what is known of their number while no name has been looked up.
    pub fn entries(&self) -> usize {
        self.sources.len()
    }

    /// How its targets are spoken to.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Who is asked for them.
    pub fn names(&self) -> &Arc<Names> {
        &self.names
    }

    /// Why there may be no targets: what is known of names without an answer.
    pub fn cause(&self) -> Option<String> {
        let why = |question: &Question, Known { places, cause, .. }: Known| {
            let cause = cause.as_deref().unwrap_or("no name server has answered yet");
            places.is_empty().then(|| format!("`{}` has no address: {cause}", question.name()))
        };
        let causes: Vec<_> = self.asked().iter().filter_map(|(question, answer)| why(question, answer.known())).collect();
        (!causes.is_empty()).then(|| causes.join("; "))
    }
}

fn rules<P>(config: &ServiceConfig<P>) -> Result<Option<Rules>, BuildError> {
    let (ejection, health) = (config.ejection.is_some(), config.health.is_some());
    if config.min_available.is_some() && !ejection && !health {
        let error =
            BuildError::new("nothing makes a target unavailable", "set `health: { path: /healthz }` or `ejection: {}`, or remove it");
        return Err(error.at("min_available"));
    }
    if let Some(slow_start) = config.slow_start {
        slow_start.not_zero().map_err(|error| error.at("slow_start"))?;
    }
    let slow_start = config.slow_start.map_or(0, |time| u64::try_from(time.0.as_millis()).unwrap_or(u64::MAX).max(1));
    let min_available = config.min_available.unwrap_or(Percent::new(50)).share();
    Ok((ejection || health || slow_start > 0).then_some(Rules { ejection, health, slow_start, min_available }))
}
