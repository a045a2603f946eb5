//! Public keys that tests verify with: those of RFC 9421, appendix B.1, and others of RSA.

/// `test-key-ed25519`.
pub const ED25519: &str =
    "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=\n-----END PUBLIC KEY-----";
/// `test-key-ecc-p256`.
pub const P256: &str = "-----BEGIN PUBLIC KEY-----\n\
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqIVYZVLCrPZHGHjP17CTW0/+D9Lf\n\
w0EkjqF7xB4FivAxzic30tMM4GF+hR6Dxh71Z50VGGdldkkDXZCnTNnoXQ==\n\
-----END PUBLIC KEY-----";
/// `test-key-rsa-pss`.
pub const RSA: &str = "-----BEGIN PUBLIC KEY-----\n\
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAr4tmm3r20Wd/PbqvP1s2\n\
+QEtvpuRaV8Yq40gjUR8y2Rjxa6dpG2GXHbPfvMs8ct+Lh1GH45x28Rw3Ry53mm+\n\
oAXjyQ86OnDkZ5N8lYbggD4O3w6M6pAvLkhk95AndTrifbIFPNU8PPMO7OyrFAHq\n\
gDsznjPFmTOtCEcN2Z1FpWgchwuYLPL+Wokqltd11nqqzi+bJ9cvSKADYdUAAN5W\n\
Utzdpiy6LbTgSxP7ociU4Tn0g5I6aDZJ7A8Lzo0KSyZYoA485mqcO0GVAdVw9lq4\n\
aOT9v6d+nb4bnNkQVklLQ3fVAvJm+xdDOp9LCNCN48V2pnDOkFV6+U9nV5oyc6XI\n\
2wIDAQAB\n\
-----END PUBLIC KEY-----";
/// One that is too short.
pub const RSA_1024: &str = "-----BEGIN PUBLIC KEY-----\n\
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCkuv4neScC4mMT1ABy6Xy09Xk/\n\
oHBN6KuRrATin2JhKHCGqmtK3tmi46bIbhCD3eHEGsSaZPu7LkRArvfzQroO71vC\n\
dQYYoHPq31WqRCl/e+ZWMi5sa9qzI+Vwj2u91cBJ5ABs5kC4Y1MFGmkvP9NPxO+2\n\
sSHo9/Qlp24vfnWOFQIDAQAB\n\
-----END PUBLIC KEY-----";
/// A long one.
pub const RSA_4096: &str = "-----BEGIN PUBLIC KEY-----\n\
MIICIjANBgkqhkiG9w0BAQEFAAOCAg8AMIICCgKCAgEAuaOEYoq2GhsFsjvKclO2\n\
5ybh/8deiseNt+E6BGcOmRy/vI2SYw6Pg/60mrM8AhmnYtiv/pN2AX2bgpqvYWRG\n\
y266jvpLIKEfxcG9GcJBlmuaPwkDrDSp3y0pYVg7hIQwmsf+x7mrG+tiPew8o0MB\n\
DYUCac8J22R7iCSr0ZJYhxiwGgBfrl08V0Y+H9Fj+MVxzGW59rrn5S8WKtM1Bq1y\n\
mSm2u5LUz6Y20gbIOHDGN/DONeCVK9GJRSGx4Qwmtdz5/gCukEAMTU88kQ2TAfUA\n\
TrW9sBw+zPg9NOdv90APM+vnVmuJZSY5iATy4zn3/fYsafjRLw+jxBPJqAocZ5wI\n\
oX3p9s8/EJZB7gwwG3mKC8CrVvLNlxsKCZSEsEnp042PgQa31KHGytqvaefl6lED\n\
C0fMOENL8a/Sez062uHTy0CTpCRUBYYAAyRPK+0Yl8q+JOm5Uq0pPYFmOLdzZdxV\n\
hcRuTMA5OHBcELmfftkS3BtFmUSn8C8QjDBk3TPN/81czoRaukpDoADVt98ks6h5\n\
KmeOO5EbPvJeEEGqwNqpwpF80nQcFHBVZCPMt0G1OfmVjM37Xef0Npc2XXrySOt0\n\
er5rpUOVwSPWhmsk3dZl6Pc9ln20IRL4NccW+BcV3hNoFx38bR6gzvrqgd3bG2Bu\n\
p60aSk8QmjKOH7ACfndkkQ8CAwEAAQ==\n\
-----END PUBLIC KEY-----";
