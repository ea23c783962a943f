# Make a CA, the certificate of one server and that of one client. What is there already is kept.
#
# usage: certs.ps1 SERVER CLIENT [--dir DIR] [--passphrase-file FILE]
#
# Without --passphrase-file the passphrase of the CA's key is asked for on the terminal.
param(
    [Parameter(Mandatory, Position = 0)] [string] $Server,
    [Parameter(Mandatory, Position = 1)] [string] $Client,
    [Parameter(ValueFromRemainingArguments)] [string[]] $Options = @()
)
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'

& hauberk certs init @Options
if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }
& hauberk certs issue --san localhost --san 127.0.0.1 --san ::1 @Options $Server
if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }
& hauberk certs issue --client @Options $Client
if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }
