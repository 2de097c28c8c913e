//! The other claims of a plan: each points to the home claim while the rollout lasts.

use crate::{
    error::{Error, ErrorKind, Result},
    model::{Claim, Fence, Plan, RolloutId},
    state::{Expect, head::Head},
    target::Target,
};

impl Target {
    pub(super) async fn highest_fence(&self, claims: &[Claim]) -> Result<Fence> {
        let mut highest = Fence(0);
        for claim in claims {
            if let Some((_, head)) = self.records().head(claim).await? {
                highest = highest.max(head.fence);
            }
        }
        Ok(highest)
    }

    /// Points the other claims at home; says why not, if one belongs to another unfinished rollout.
    pub(super) async fn take_other_claims(
        &self,
        plan: &Plan,
        rollout: &RolloutId,
        fence: Fence,
    ) -> Result<Option<String>> {
        let home = &plan.claims[0];
        for (index, claim) in plan.claims.iter().enumerate().skip(1) {
            let taken = self.point_claim(claim, home, rollout, fence).await?;
            if let Some(other) = taken {
                self.give_other_claims_back(&plan.claims[1..index], rollout).await;
                return Ok(Some(format!("{claim} is taken by deploy {other}")));
            }
        }
        Ok(None)
    }

    async fn point_claim(
        &self,
        claim: &Claim,
        home: &Claim,
        rollout: &RolloutId,
        fence: Fence,
    ) -> Result<Option<RolloutId>> {
        let records = self.records();
        for _ in 0..20 {
            let found = records.head(claim).await?;
            let (expect, mut head) = match found {
                None => (Expect::Absent, Head::first(claim.clone(), self.name()?.clone())),
                Some((version, head)) => (Expect::Is(version), head),
            };
            match (&head.claim, &head.home) {
                (Some(other), _) if other == rollout && head.fence == fence => return Ok(None),
                (Some(other), Some(its_home)) if other != rollout => {
                    // The pointer is stale if its home no longer has that rollout.
                    let there = records.head(its_home).await?;
                    if there.is_some_and(|(_, there)| there.claim.as_ref() == Some(other)) {
                        return Ok(Some(other.clone()));
                    }
                }
                (Some(other), None) if other != rollout => return Ok(Some(other.clone())),
                _ => {}
            }
            head.home = Some(home.clone());
            head.claim = Some(rollout.clone());
            head.fence = head.fence.max(fence);
            head.beat += 1;
            head.write_id = self.deployer.0.random.next();
            // Lost, or unanswered: the next read tells.
            let _ = records.store().write(&records.head_key(claim), expect, head.to_bytes()).await;
        }
        Err(Error::new(ErrorKind::Store, format!("{claim} cannot be taken: the store does not answer")))
    }

    pub(super) async fn give_other_claims_back(&self, claims: &[Claim], rollout: &RolloutId) {
        let records = self.records();
        for claim in claims {
            for _ in 0..5 {
                let Ok(Some((version, mut head))) = records.head(claim).await else { continue };
                if head.claim.as_ref() != Some(rollout) {
                    break;
                }
                head.claim = None;
                head.write_id = self.deployer.0.random.next();
                let _ = records
                    .store()
                    .write(&records.head_key(claim), Expect::Is(version), head.to_bytes())
                    .await;
            }
        }
    }
}
