/* credentials.h - who we are and where the bucket is, as every AWS program is told: environment and shared
 * files.
 *
 * Credentials, first found: AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY and perhaps AWS_SESSION_TOKEN (not
 * when a profile is named by the caller); the profile in the credentials file; the profile in the config
 * file. The profile is the caller's, AWS_PROFILE's, or "default". Region: AWS_REGION, AWS_DEFAULT_REGION, the
 * profile's. Endpoint: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, the profile's. CA file: AWS_CA_BUNDLE, the
 * profile's. Files: AWS_SHARED_CREDENTIALS_FILE or ~/.aws/credentials, AWS_CONFIG_FILE or ~/.aws/config.
 *
 * This is the one place below src/cli that reads the environment. It reads files, so it blocks.
 */
#ifndef OBJSTORE_S3_CREDENTIALS_H
#define OBJSTORE_S3_CREDENTIALS_H

#include <stdbool.h>

#include "base/err.h"

struct credentials {
    char *access_key, *secret_key;
    char *session_token;               /* NULL: none */
    char *region, *endpoint, *ca_file; /* NULL: not said */
    char *source;                      /* for a person: "the environment", "profile default in PATH" */
};

/* profile may be NULL. DENIED when there are no credentials, INVALID when a named profile or file is not
 * there or cannot be read as one; both with a complaint. */
MUST_CHECK enum err credentials_load(const char *profile, struct credentials *, struct complaint *);
void credentials_finish(struct credentials *);
/* Whether requests signed with one could be told from those signed with the other. */
bool credentials_same(const struct credentials *, const struct credentials *);

#endif
