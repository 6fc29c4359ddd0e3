//! Bounds the answers that the SDK reads whole: pages of listings, and errors. It takes in whatever comes before it parses any
//! of it, so a store, or what answers in its place, could fill the memory with a single answer without an end. The bodies of
//! objects are read piece by piece, and only as far as they were promised: see [`super::body`].

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::SdkBody;
use aws_smithy_runtime_api::client::interceptors::context::InterceptorContext;
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::retries::classifiers::{ClassifyRetry, RetryAction};
use http_body_util::{LengthLimitError, Limited};
use std::error::Error;

/// Bytes of an answer that is read whole. A page has at most 1,000 keys of at most 1,024 bytes, and with every character of each
/// escaped it has 7 MB. What is parsed of an answer may be twenty times as large.
pub(super) const MAX_ANSWER: usize = 8 << 20;

/// Ends every answer that is read whole at [`MAX_ANSWER`] bytes, with an error after which nothing is tried again: the next
/// answer would be no shorter.
#[derive(Clone, Copy, Debug)]
pub(super) struct BoundedAnswers;

#[dyn_dispatch_hint]
impl Intercept for BoundedAnswers {
    fn name(&self) -> &'static str {
        "BoundedAnswers"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let of_object = config.load::<Metadata>().is_some_and(|operation| operation.name() == "GetObject");
        let answer = context.response_mut();
        if of_object && answer.status().is_success() {
            return Ok(());
        }
        let body = answer.take_body();
        *answer.body_mut() = SdkBody::from_body_1_x(Limited::new(body, MAX_ANSWER));
        Ok(())
    }
}

impl ClassifyRetry for BoundedAnswers {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        match context.output_or_error() {
            Some(Err(error)) if is_overlong(error) => RetryAction::RetryForbidden,
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "BoundedAnswers"
    }
}

/// Whether an error is that of an answer that was longer than [`MAX_ANSWER`].
pub(super) fn is_overlong(error: &(dyn Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |cause| (*cause).source());
    causes.any(|cause| cause.is::<LengthLimitError>())
}
