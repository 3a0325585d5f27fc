// OpenSSL's libcrypto: SHA-256 and HMAC for AWS Signature Version 4.
#pragma once
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
