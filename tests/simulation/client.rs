//! The client of the simulated API: takes time, fails as the world wants it, and keeps to the real
//! guard against too many calls.

use crate::cloud::{Cloud, Function, failure};
use crate::director::Act;
use crate::judge::Judge;
use crate::kinds::Kind;
use crate::vm::World;
use glesys_autoscaler::adapters::glesys::CallBudget;
use glesys_autoscaler::engine::cloud::{ApiFailure, FailureKind, Server};
use glesys_autoscaler::ports::CloudApi;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// The client's side.
pub struct Api {
    pub world: Rc<World>,
    pub budget: RefCell<CallBudget>,
}

impl Api {
    fn spend(&self) -> Result<(), ApiFailure> {
        let spent = self.budget.borrow_mut().take(self.world.mono());
        spent.map_err(|wait| {
            self.world.log("a call is not sent, to spare the API");
            failure(
                FailureKind::Unavailable,
                Some(wait),
                "not sent, to spare the API",
            )
        })
    }

    async fn read<T>(
        &self,
        function: Function,
        answer: impl FnOnce(&World) -> T,
    ) -> Result<T, ApiFailure> {
        let world = &*self.world;
        world.port();
        self.spend()?;
        Judge::called(world, function);
        let fate = Cloud::fate(world, function);
        tokio::time::sleep(fate.latency).await;
        let answer = match fate.failure {
            Some(failure) => Err(failure),
            None => Ok(answer(world)),
        };
        let text = answer.as_ref().err().map_or("ok", |f| f.message.as_str());
        world.log(format_args!("{function:?} answered: {text}"));
        Judge::answered(world, function, answer.as_ref().err());
        answer
    }
}

impl CloudApi for Api {
    async fn details(&self) -> Result<Server, ApiFailure> {
        let server = self.read(Function::Details, Cloud::details).await?;
        Judge::told_details(&self.world, &server);
        self.world.port();
        Ok(server)
    }

    async fn edit(&self, cores: u32) -> Result<(), ApiFailure> {
        let world = &*self.world;
        world.port();
        self.spend()?;
        Judge::called(world, Function::Edit);
        let number = world.cloud.borrow_mut().number();
        Judge::edit_sent(world, number, cores);
        let fate = Cloud::fate(world, Function::Edit);
        let latency = fate.latency;
        // It is on its way, whatever becomes of who sent it.
        world.at(world.mono() + latency / 2, Act::Arrive(number, cores, fate));
        tokio::time::sleep(latency + Duration::from_millis(5)).await;
        let answer = world.cloud.borrow_mut().answer(number);
        Judge::answered(world, Function::Edit, answer.as_ref().err());
        world.port();
        answer
    }

    async fn allowed_cores(&self, _: &str) -> Result<Vec<u32>, ApiFailure> {
        let counts = |world: &World| {
            let counts = world.cloud.borrow().counts.clone();
            let Some(dose) = world.active(Kind::WrongCounts) else {
                return counts;
            };
            world.hit(Kind::WrongCounts);
            match (dose * 4.0) as u32 {
                0 => Vec::new(),
                1 => vec![1000],
                2 => counts.into_iter().step_by(2).collect(),
                _ => (1..=1024).collect(),
            }
        };
        let counts = self.read(Function::AllowedArguments, counts).await?;
        Judge::told_counts(&self.world, &counts);
        self.world.port();
        Ok(counts)
    }
}
