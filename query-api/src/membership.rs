//! Who is a member of what, by the read model: for queries. Commands ask the log.

use std::time::Duration;

use events::{Role, permission::Standing};
use service::http::Problem;
use tokio::time::sleep;
use uuid::Uuid;

use crate::reading::Reading;

/// How often it is asked whether one who listens to a company is still a member.
const AGAIN: Duration = Duration::from_secs(2);

/// What `user` is to `tenant`.
pub async fn standing(reading: &Reading, user: Uuid, tenant: Uuid) -> Result<Standing, Problem> {
    if user == tenant {
        return Ok(Standing { is_own: true, ..Standing::default() });
    }
    let sql = "select m.role, c.archived from company_member m join company c on c.id = m.id
               where m.user_id = $1 and m.id = $2 and m.role is not null";
    let row: Option<(String, bool)> = sqlx::query_as(sql).bind(user).bind(tenant).fetch_optional(&reading.pool).await?;
    let Some((role, is_archived)) = row else { return Ok(Standing::default()) };
    Ok(Standing { role: Role::named(&role), is_archived, ..Standing::default() })
}

/// Whether `reader` may read what is of `tenant`; without one everything may be read.
pub async fn may_read(reading: &Reading, reader: Option<Uuid>, tenant: Uuid) -> Result<bool, Problem> {
    let Some(reader) = reader else { return Ok(true) };
    let Standing { is_own, role, .. } = standing(reading, reader, tenant).await?;
    Ok(is_own || role.is_some())
}

/// Comes to an end when `user` is no member of `tenant` any more, or soon after.
pub async fn lost(reading: Reading, user: Uuid, tenant: Uuid) {
    loop {
        sleep(AGAIN).await;
        // What cannot be asked is asked again; a stream does not end because the database is away for a moment.
        if let Ok(false) = may_read(&reading, Some(user), tenant).await {
            return;
        }
    }
}
